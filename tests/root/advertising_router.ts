/** A router that advertises itself and a prefix on a link, from any namespace: RFC 4861, sections 4.2 and 4.6.2. */
import { sh } from "./builtin_world.ts";

// The kernel fills in the checksum. A hop limit other than 255 would be ignored.
const ADVERTISE = `
use Socket;
my ($index, $prefix) = @ARGV;
socket(my $socket, 10, SOCK_RAW, 58) or die "socket: $!";
setsockopt($socket, 41, 17, pack("i", $index)) or die "device: $!";
setsockopt($socket, 41, 18, pack("i", 255)) or die "hops: $!";
my $router = pack("CCnCCnNN", 134, 0, 0, 64, 0, 1800, 0, 0);
my $network = pack("CCCCNNN", 3, 4, 64, 0xC0, 86400, 14400, 0) . Socket::inet_pton(Socket::AF_INET6, $prefix);
my $all = pack("SnNa16L", 10, 0, 0, Socket::inet_pton(Socket::AF_INET6, "ff02::1"), $index);
send($socket, $router . $network, 0, $all) or die "send: $!";
`;

/** Sends one advertisement to all on the link; the prefix has 64 bits. The device must be able to use its own address. */
export async function advertise(netns: string, device: string, prefix: string): Promise<void> {
  const index = parseInt(await sh(`ip -o link show dev ${device}`, netns));
  const { code, stderr } = await new Deno.Command("nsenter", {
    args: [`--net=${netns}`, "perl", "-e", ADVERTISE, `${index}`, prefix],
    stdin: "null",
  }).output();
  if (code !== 0) throw new Error(new TextDecoder().decode(stderr));
}

/** How many advertisements a namespace has received, whether it uses them or not. */
export async function advertisementsIn(netns: string): Promise<number> {
  return Number(await sh("awk '$1 == \"Icmp6InRouterAdvertisements\" { print $2 }' /proc/net/snmp6", netns));
}
