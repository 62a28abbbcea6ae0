// A process whose way back into its own namespace is barred.
import { inNetns } from "../../lib/kernel/in_netns.ts";
import { fakeLibc } from "./fake_libc.ts";

const libc = fakeLibc({ setns: (fd) => fd === 5 ? 0 : -1, errno: () => 1 });
addEventListener("beforeunload", (event) => event.preventDefault());
try {
  inNetns(libc, () => libc.setns(5, 0), () => console.log("inside"), () => new Error("refused"));
} finally {
  console.log("still here");
}
