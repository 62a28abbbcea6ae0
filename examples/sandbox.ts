// Runs a program in a sandbox, which is removed at the end of the program.
//
//   deno run --no-prompt \
//     --allow-read=/etc/cni/net.d,/etc/resolv.conf,/run/systemd/resolve/resolv.conf,/opt,/usr/lib/cni,/usr/libexec/cni,/var/lib/cni,/var/lib/podwire,/run/dbus,/run/podwire,/run/netns,/proc,/usr/local/sbin,/usr/local/bin,/usr/sbin,/usr/bin,/sbin,/bin \
//     --allow-write=/var/lib/cni,/var/lib/podwire,/run/podwire,/run/netns \
//     --allow-run=cat,ip,ip6tables,ip6tables-restore,iptables,iptables-restore,mount,nft,nsenter,sh,umount,unshare \
//     examples/sandbox.ts
import { Podwire } from "@podwire/podwire";

const { sandboxes } = new Podwire();
await using sandbox = await sandboxes.run({ name: "job" });
console.log(sandbox.netns, sandbox.ips);
const { stdout } = await sandboxes.exec(sandbox.id, { program: "ip", args: ["-br", "addr"] });
console.log(stdout);
