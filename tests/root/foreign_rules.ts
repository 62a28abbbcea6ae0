/** Rules of other programs, as they write them for iptables: tables with what makes them. */
import type { IptablesTable } from "../../lib/iptables/table.ts";

/** What another program has made. */
export interface ForeignRules {
  readonly table: IptablesTable;
  readonly lines: readonly string[];
}

/** Those of kube-proxy and ufw, shortened, and of an administrator. */
export const FOREIGN: Readonly<Record<string, ForeignRules>> = {
  "kube-proxy": {
    table: "nat",
    lines: [
      ":KUBE-MARK-MASQ - [0:0]",
      ":KUBE-POSTROUTING - [0:0]",
      ":KUBE-SERVICES - [0:0]",
      ":KUBE-SVC-NPX46M4PTMTKRN6Y - [0:0]",
      ":KUBE-SEP-6DM5LRFFQXFRDT46 - [0:0]",
      ":KUBE-SEP-XXB5QX7SN3TTLDRT - [0:0]",
      '-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
      '-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING',
      "-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000",
      "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
      "-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000",
      "-A KUBE-POSTROUTING -j MASQUERADE --random-fully",
      '-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m comment --comment "default/kubernetes:https" -m tcp --dport 443 -j KUBE-SVC-NPX46M4PTMTKRN6Y',
      "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-MARK-MASQ",
      "-A KUBE-SVC-NPX46M4PTMTKRN6Y -m statistic --mode random --probability 0.5 -j KUBE-SEP-6DM5LRFFQXFRDT46",
      "-A KUBE-SVC-NPX46M4PTMTKRN6Y -j KUBE-SEP-XXB5QX7SN3TTLDRT",
      "-A KUBE-SEP-6DM5LRFFQXFRDT46 -p tcp -m tcp -j DNAT --to-destination 172.18.0.2:6443",
    ],
  },
  ufw: {
    table: "filter",
    lines: [
      ":ufw-before-forward - [0:0]",
      ":ufw-user-limit - [0:0]",
      ":ufw-after-logging-forward - [0:0]",
      "-A FORWARD -j ufw-before-forward",
      "-A FORWARD -j ufw-after-logging-forward",
      "-A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
      "-A ufw-before-forward -p icmp -m icmp --icmp-type 8 -j ACCEPT",
      "-A ufw-before-forward -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j RETURN",
      '-A ufw-user-limit -m limit --limit 3/min -j LOG --log-prefix "[UFW LIMIT BLOCK] "',
      "-A ufw-user-limit -j REJECT --reject-with icmp-port-unreachable",
      "-A ufw-after-logging-forward -m limit --limit 3/min --limit-burst 10 -j NFLOG --nflog-group 5",
    ],
  },
  "an administrator": {
    table: "filter",
    lines: [
      "-A FORWARD -s 10.0.0.0/255.0.255.0 -j DROP",
      "-A FORWARD -p 47 -j ACCEPT",
      "-A FORWARD ! -p tcp -j ACCEPT",
      "-A FORWARD -m mac --mac-source 02:00:00:00:00:01 -j DROP",
      "-A FORWARD -m iprange --src-range 10.0.0.1-10.0.0.9 -g FORWARDED",
      "-A FORWARD -p tcp -m tcp --sport 1 --dport 2 -j ACCEPT",
      "-A FORWARD -p udp -m udp ! --sport 1:5 -j ACCEPT",
      "-A FORWARD -f -j DROP",
      "-A FORWARD",
      "-A OUTPUT -m owner --uid-owner 0 -j ACCEPT",
      "-P FORWARD DROP",
    ].flatMap((line) => line.includes("-g FORWARDED") ? ["-N FORWARDED", line] : [line]),
  },
};
