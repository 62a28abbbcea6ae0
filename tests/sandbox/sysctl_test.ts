// Sysctls of a sandbox are read back, and never change the host.
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import type { SysctlPlace } from "../../lib/kernel/kernel.ts";
import { setSysctls, validateSysctls } from "../../lib/sandbox/sysctl.ts";

/** A machine with one namespace. With `global`, a write in the namespace also changes the host; with `kept`, writes change nothing. */
class Machine {
  readonly host = new Map<string, string>();
  readonly inside = new Map<string, string>();
  constructor(
    values: Readonly<Record<string, string>>,
    readonly options: { readonly global?: boolean; readonly kept?: boolean } = {},
  ) {
    for (const [path, value] of Object.entries(values)) {
      this.host.set(path, value);
      this.inside.set(path, value);
    }
  }

  async set(sysctls: Readonly<Record<string, string>>): Promise<void> {
    await setSysctls("/run/netns/pod", sysctls, { kernel: this });
  }

  readSysctls(
    names: readonly string[],
    { netns }: SysctlPlace = {},
  ): Promise<ReadonlyMap<string, string>> {
    const values = netns === undefined ? this.host : this.inside;
    return Promise.resolve(new Map([...values].filter(([name]) => names.includes(name))));
  }

  writeSysctls(
    values: ReadonlyMap<string, string>,
    place: SysctlPlace = {},
  ): Promise<ReadonlyMap<string, string>> {
    for (const [name, value] of values) {
      if (!this.options.kept) (place.netns === undefined ? this.host : this.inside).set(name, value);
      if (this.options.global && place.netns !== undefined) this.host.set(name, value);
    }
    return this.readSysctls([...values.keys()], place);
  }
}

Deno.test("a sysctl whose value the kernel does not accept is an error", async () => {
  const machine = new Machine({ "net/ipv4/ip_default_ttl": "64" }, { kept: true });
  const error = await assertRejects(() => machine.set({ "net.ipv4.ip_default_ttl": "65" }), CniError);
  assertStringIncludes(
    error.msg,
    'Cannot set the sysctl "net.ipv4.ip_default_ttl" to "65": the kernel keeps "64"',
  );
});

Deno.test("a sysctl that applies to the whole machine is restored there and refused", async () => {
  const machine = new Machine({ "net/odd/one": "1" }, { global: true });
  const error = await assertRejects(() => machine.set({ "net.odd.one": "2" }), CniError);
  assertEquals({ kind: error.kind, host: machine.host.get("net/odd/one") }, { kind: "usage", host: "1" });
  for (const name of ["net.netfilter.nf_conntrack_max", "net.nf_conntrack_max"]) {
    const refused = await assertRejects(
      async () => await Promise.resolve(validateSysctls({ [name]: "4242" })),
      CniError,
    );
    const { kind, context: { details } } = refused;
    assertEquals({ kind, details }, { kind: "usage", details: "it applies to the whole machine" }, name);
  }
});

Deno.test("a value that the kernel prints in its own format is the same value", async () => {
  const pairs = [
    ["8080-8082,9000", "9000,8081,8080,8082"],
    ["0\t100", "0 100"],
    ["7", "+07"],
    ["cubic", "cubic"],
  ] as const;
  for (const [kept, wanted] of pairs) {
    await new Machine({ "net/x/y": kept }, { kept: true }).set({ "net.x.y": wanted });
  }
  for (const [kept, wanted] of [["8080", "8080,8081"], ["0 100", "0 101"], ["8", "07"]] as const) {
    await assertRejects(
      () => new Machine({ "net/x/y": kept }, { kept: true }).set({ "net.x.y": wanted }),
      CniError,
    );
  }
});

Deno.test("a sysctl that can only be written counts as set", async () => {
  await new Machine({}, { kept: true }).set({ "net.ipv4.route.flush": "1" });
});
