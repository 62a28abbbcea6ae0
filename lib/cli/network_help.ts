/** What the help of `run` says of the values of `--network` and `--ip-range`. */
export const NETWORK_HELP = [
  "--network names a network and may say what it alone is asked for: NET[:IFNAME][,KEY=VALUE...], with the keys",
  "  mac, ingress, egress, device, cgroup, each once, and",
  "  ip, publish, range, dns, search, dns-option, alias, annotation (K=V), arg (K=V), cap (NAME=JSON), and",
  "  default-route, for the default route of this network, or =GATEWAY, one for each family, for that one; else the pod",
  "  has in each family that of its first network with one, and those of the others are removed,",
  "and values as those of the flags. In a value a comma is written \\, and a backslash \\\\, but in the JSON of cap,",
  "which stays as it is. `none` alone means no network but lo; a network of that name is none:IFNAME.",
  "The flags beside --network are for the first network, but --arg, --annotation and --cgroup-path for all.",
  "RANGE is SUBNET[@[START]-[END]][@gw=GATEWAY], and more of these behind a +: an address out of any of them.",
].join("\n");
