// Asks the kernel for the interfaces, if it can.
import { mayCallLibc } from "../../lib/host/libc.ts";
import { NetlinkKernel } from "../../lib/kernel/netlink_kernel.ts";

if (mayCallLibc()) {
  const kernel = new NetlinkKernel();
  const [links, lo] = await kernel.apply([{ kind: "show-links" }, { kind: "show-link", name: "lo" }]);
  console.log(true, links.find(({ index }) => index === 1)?.name, lo.name);
} else {
  console.log(false);
}
