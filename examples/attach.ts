// Attaches a network namespace to a network, prints its addresses, and detaches it.
//
//   ip netns add c1
//   deno run --no-prompt \
//     --allow-read=/etc/cni/net.d,/etc/resolv.conf,/run/systemd/resolve/resolv.conf,/opt,/usr/lib/cni,/usr/libexec/cni,/var/lib/cni,/var/lib/podwire,/run/dbus,/run/podwire,/run/netns,/proc,/usr/local/sbin,/usr/local/bin,/usr/sbin,/usr/bin,/sbin,/bin \
//     --allow-write=/var/lib/cni,/var/lib/podwire,/run/podwire,/run/netns \
//     --allow-run=cat,ip,ip6tables,ip6tables-restore,iptables,iptables-restore,mount,nft,nsenter,sh,umount,unshare \
//     examples/attach.ts /run/netns/c1
import { Podwire } from "@podwire/podwire";

const [netns = "/run/netns/c1"] = Deno.args;
const podwire = new Podwire();
const target = { containerId: "c1", netns, ifName: "eth0" };
const { ips = [] } = await podwire.add("podwire", target);
console.log(ips.map(({ address }) => address));
await podwire.del("podwire", target);
