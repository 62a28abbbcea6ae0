/**
 * What others have made in the namespaces and on the host: links, addresses, routes and rules of every kind.
 */
import type { Random } from "../cni/random.ts";
import { sh, type World } from "./builtin_world.ts";
import type { ForeignKind } from "./two_owners_steps.ts";

/** Makes foreign things, with names that no other test has. */
export class ForeignThings {
  #made = 0;

  constructor(readonly world: World, readonly random: Random) {}

  /** The routing table of others on the host. */
  get table(): string {
    return `${100_000 + Number.parseInt(this.world.tag.slice(0, 4), 16)}`;
  }

  get hostLink(): string {
    return `fh${this.world.tag}`;
  }

  /** Fills a namespace. */
  async fill(netns: string, eth0: ForeignKind | undefined): Promise<void> {
    await sh(
      `ip -batch - <<'END' || exit 1
      link add keep0 address ${this.mac()} mtu 1400 type bridge
      link set keep0 up alias "not podwire's"
      address add 192.0.2.1/24 dev keep0
      address add fd77::1/64 dev keep0 nodad
      route add 198.51.100.0/24 via 192.0.2.7
      route add default via 192.0.2.9 table 77
      route add fd78::/64 via fd77::7
      rule add from 192.0.2.0/24 table 77 priority 77
END
      nft 'add table inet keep; add chain inet keep input { type filter hook input priority 0; };
        add rule inet keep input ip saddr 192.0.2.66 drop comment "keep"'
      iptables -w -t nat -A POSTROUTING -s 192.0.2.0/24 -m comment --comment keep -j MASQUERADE`,
      netns,
    );
    await this.link(netns, "pair0", "port");
    if (eth0 !== undefined) await this.link(netns, "eth0", eth0);
  }

  /** Makes a link in a namespace; a `port` has its other end on podwire's bridge. */
  async link(netns: string, name: string, kind: ForeignKind): Promise<void> {
    const mac = this.mac();
    const peer = `f${(this.#made++).toString(36)}${this.world.tag}`;
    switch (kind) {
      case "tap":
        return void await sh(`ip tuntap add ${name} mode tap && ip link set ${name} address ${mac}`, netns);
      case "veth":
        return void await sh(
          `ip link add ${name} address ${mac} type veth peer name p${peer.slice(0, 9)} address ${this.mac()}
          ip link set ${name} up; ip address add 192.0.3.${2 + this.#made}/30 dev ${name}`,
          netns,
        );
      case "port":
        await sh(
          `ip link add ${peer} address ${this.mac()} type veth peer name ${name} address ${mac} netns ${netns}
          ip link show dev ${this.world.bridge} >/dev/null 2>&1 && ip link set ${peer} master ${this.world.bridge} up; :`,
        );
        return void await sh(
          `ip link set ${name} up && ip address add 192.0.4.${2 + this.#made}/24 dev ${name}`,
          netns,
        );
      default:
        return void await sh(
          `ip link add ${name} address ${mac} type ${kind} && ip link set ${name} up &&
          ip address add 192.0.5.${
            2 + this.#made
          }/24 dev ${name} && ip route add 192.0.6.${this.#made}/32 dev ${name}`,
          netns,
        );
    }
  }

  /** Fills the host, where other tests work too. */
  async fillHost(hasBridge: boolean): Promise<void> {
    const { tag, bridge } = this.world;
    const address = `100.${64 + this.random.below(60)}.${this.random.below(250)}`;
    await sh(
      `set -e
      ip link add ${this.hostLink} address ${this.mac()} type bridge
      ip link set ${this.hostLink} up
      ip address add ${address}.1/24 dev ${this.hostLink}
      ip route add ${address}.0/24 dev ${this.hostLink} table ${this.table}
      ip rule add from ${address}.0/24 table ${this.table}
      nft 'add table inet keep-${tag}; add chain inet keep-${tag} forward { type filter hook forward priority 0; };
        add rule inet keep-${tag} forward ip saddr ${address}.66 drop comment "keep-${tag}"'
      iptables -w -t nat -N KEEP-${tag}
      iptables -w -t nat -A KEEP-${tag} -s ${address}.0/24 -m comment --comment keep-${tag} -j RETURN
      iptables -w -t nat -A POSTROUTING -s ${address}.0/24 -m comment --comment 'name: "one-${tag}" id: "keep-${tag}"' -j KEEP-${tag}`,
    );
    if (!hasBridge) return;
    await sh(
      `ip link add ${bridge} type bridge && ip link set ${bridge} up &&
      ip address add ${address.replace(/^100/, "172")}.9/32 dev ${bridge}`,
    );
  }

  async cleanHost(): Promise<void> {
    const { tag } = this.world;
    await sh(
      `ip link delete ${this.hostLink}
      while ip rule delete table ${this.table}; do :; done
      nft delete table inet keep-${tag}
      iptables -w -t nat -S POSTROUTING | grep -e '-j KEEP-${tag}' | sed 's/^-A/iptables -w -t nat -D/' | sh
      iptables -w -t nat -F KEEP-${tag}; iptables -w -t nat -X KEEP-${tag}
      :`.replaceAll("\n", " 2>/dev/null\n"),
    );
  }

  /** Not by the seed: other histories run at the same time. */
  mac(): string {
    const bytes = crypto.getRandomValues(new Uint8Array(5));
    return `06:${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":")}`;
  }
}
