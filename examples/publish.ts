// Publishes a port of a sandbox. The default network needs a plugin with the capability portMappings: here it has
// bridge and portmap of /opt/cni/bin.
//
//   deno run --no-prompt \
//     --allow-read=/etc/cni/net.d,/etc/resolv.conf,/run/systemd/resolve/resolv.conf,/opt,/usr/lib/cni,/usr/libexec/cni,/var/lib/cni,/var/lib/podwire,/run/dbus,/run/podwire,/run/netns,/proc,/usr/local/sbin,/usr/local/bin,/usr/sbin,/usr/bin,/sbin,/bin \
//     --allow-write=/var/lib/cni,/var/lib/podwire,/run/podwire,/run/netns \
//     --allow-run=cat,ip,ip6tables,ip6tables-restore,iptables,iptables-restore,mount,nft,nsenter,sh,umount,unshare,ss,/opt/cni/bin/bridge,/opt/cni/bin/portmap \
//     examples/publish.ts
import { Podwire } from "@podwire/podwire";

const { sandboxes } = new Podwire();
await using sandbox = await sandboxes.run({ name: "web", publish: ["8080:80/tcp", "127.0.0.1:8443:443"] });
console.log(sandbox.ips);
