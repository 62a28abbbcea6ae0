// Gives all calls of a program half a minute. What a cancelled call began, it undoes.
//
//   deno run --no-prompt \
//     --allow-read=/etc/cni/net.d,/etc/resolv.conf,/run/systemd/resolve/resolv.conf,/opt,/usr/lib/cni,/usr/libexec/cni,/var/lib/cni,/var/lib/podwire,/run/dbus,/run/podwire,/run/netns,/proc,/usr/local/sbin,/usr/local/bin,/usr/sbin,/usr/bin,/sbin,/bin \
//     --allow-write=/var/lib/cni,/var/lib/podwire,/run/podwire,/run/netns \
//     --allow-run=cat,ip,ip6tables,ip6tables-restore,iptables,iptables-restore,mount,nft,nsenter,sh,umount,unshare \
//     examples/signal.ts
import { Podwire } from "@podwire/podwire";

const signal = AbortSignal.timeout(30_000);
const podwire = new Podwire();
for (const { network, ready } of await podwire.status(undefined, { signal })) console.log(network, ready);
await using sandbox = await podwire.sandboxes.run({ name: "job" }, { signal });
console.log(sandbox.state, (await podwire.gc({ dryRun: true }, { signal })).failed.length);
