// A C program that prints the numbers and layouts that lib/kernel has written down, as the headers of the machine have them.
import { ERRORS } from "../../lib/host/errno.ts";
import { LIBC, LIBC_OFFSETS, LIBC_SIZES } from "../../lib/host/libc_constants.ts";
import { LINK_TYPES } from "../../lib/kernel/link_type.ts";
import { NETLINK, NETLINK_OFFSETS, NETLINK_SIZES } from "../../lib/kernel/netlink_constants.ts";

const HEADERS = [
  "errno.h",
  "fcntl.h",
  "sched.h",
  "stdio.h",
  "stddef.h",
  "string.h",
  "sys/mount.h",
  "sys/socket.h",
  "sys/stat.h",
  "sys/vfs.h",
  "linux/if.h",
  "linux/magic.h",
  "linux/neighbour.h",
  "linux/netconf.h",
  "linux/if_arp.h",
  "linux/if_link.h",
  "linux/if_addr.h",
  "linux/if_bridge.h",
  "linux/fib_rules.h",
  "linux/netfilter.h",
  "linux/netfilter/nf_tables.h",
  "linux/netfilter/nf_tables_compat.h",
  "linux/netfilter/nfnetlink.h",
  "linux/netfilter/nfnetlink_conntrack.h",
  "linux/netlink.h",
  "linux/nsfs.h",
  "linux/pkt_cls.h",
  "linux/pkt_sched.h",
  "linux/rtnetlink.h",
  "linux/tc_act/tc_mirred.h",
  "linux/veth.h",
];

const OFFSETS = { ...NETLINK_OFFSETS, ...LIBC_OFFSETS };
const SIZES = { ...NETLINK_SIZES, ...LIBC_SIZES };

/** Each line that the program must print. */
export function expectedLines(): string[] {
  const types = Object.entries(LINK_TYPES).map(([name, [number]]) => [name, number] as const);
  return [
    ...[...Object.entries(LIBC), ...Object.entries(NETLINK), ...types].map(([name, value]) =>
      `${name} ${value}`
    ),
    ...Object.entries(SIZES).map(([name, size]) => `sizeof ${name} ${size}`),
    ...Object.entries(OFFSETS).flatMap(([struct, members]) =>
      Object.entries(members).map(([member, offset]) => `offset ${struct}.${member} ${offset}`)
    ),
    ...Object.entries(ERRORS).map(([number, [name, words]]) => `${name} ${number} ${words}`),
    "little endian",
  ];
}

/** The text of the program. */
export function layoutProgram(): string {
  const names = [...Object.keys(LIBC), ...Object.keys(NETLINK), ...Object.keys(LINK_TYPES)];
  const lines = [
    ...names.map((name) => `printf("${name} %ld\\n", (long)(${name}));`),
    ...Object.keys(SIZES).map((name) => `printf("sizeof ${name} %zu\\n", sizeof(struct ${name}));`),
    ...Object.entries(OFFSETS).flatMap(([struct, members]) =>
      Object.keys(members).map((member) =>
        `printf("offset ${struct}.${member} %zu\\n", offsetof(struct ${struct}, ${member}));`
      )
    ),
    ...Object.values(ERRORS).map(([name]) => `printf("${name} %d %s\\n", ${name}, strerror(${name}));`),
    'int one = 1; puts(*(char *)&one == 1 ? "little endian" : "big endian");',
  ];
  const includes = HEADERS.map((header) => `#include <${header}>`);
  return ["#define _GNU_SOURCE", ...includes, "int main(void) {", ...lines, "return 0; }", ""].join("\n");
}

if (import.meta.main) {
  console.log(Deno.args[0] === "--expected" ? expectedLines().join("\n") : layoutProgram());
}
