// Sysctls of a sandbox are read back, and never change the machine.
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { setSysctls, validateSysctls } from "../../lib/sandbox/sysctl.ts";
import { CniError } from "../../lib/cni/error.ts";
import { FakeRun, type ScriptedOutcome } from "../fake_run.ts";

/** A machine with a namespace; `global` are those that hold for both, and `kept` those that keep their value. */
class Machine {
  readonly host = new Map<string, string>();
  readonly inside = new Map<string, string>();
  readonly fake = new FakeRun((request) => this.#answer([request.program, ...request.args ?? []]));

  constructor(
    values: Readonly<Record<string, string>>,
    readonly dials: { readonly global?: boolean; readonly kept?: boolean } = {},
  ) {
    for (const [path, value] of Object.entries(values)) {
      this.host.set(path, value);
      this.inside.set(path, value);
    }
  }

  async set(sysctls: Readonly<Record<string, string>>): Promise<void> {
    await setSysctls("/run/netns/pod", sysctls, { run: this.fake.run });
  }

  #answer(words: readonly string[]): ScriptedOutcome {
    const isInside = words[0] === "nsenter";
    const [program, ...args] = isInside ? words.slice(words.indexOf("--") + 1) : words;
    const values = isInside ? this.inside : this.host;
    if (program === "sh") {
      const lines = args.slice(3).map((path) => values.has(path) ? `=${values.get(path)}\n` : "\n");
      return { stdout: lines.join("") };
    }
    const [name = "", value = ""] = args.at(-1)?.split("=") ?? [];
    const path = name.replaceAll(".", "/");
    if (!this.dials.kept) values.set(path, value);
    if (this.dials.global) this.host.set(path, value);
    return {};
  }
}

Deno.test("a sysctl that the kernel does not take is no success", async () => {
  const machine = new Machine({ "net/ipv4/ip_default_ttl": "64" }, { kept: true });
  const error = await assertRejects(() => machine.set({ "net.ipv4.ip_default_ttl": "65" }), CniError);
  assertStringIncludes(
    error.msg,
    'Cannot set the sysctl "net.ipv4.ip_default_ttl" to "65": the kernel keeps "64"',
  );
});

Deno.test("a sysctl that holds for the whole machine is set back there and refused", async () => {
  const machine = new Machine({ "net/odd/one": "1" }, { global: true });
  const error = await assertRejects(() => machine.set({ "net.odd.one": "2" }), CniError);
  assertEquals([error.kind, machine.host.get("net/odd/one")], ["usage", "1"]);
  for (const name of ["net.netfilter.nf_conntrack_max", "net.nf_conntrack_max"]) {
    const refused = await assertRejects(
      async () => await Promise.resolve(validateSysctls({ [name]: "4242" })),
      CniError,
    );
    assertEquals([refused.kind, refused.context.details], ["usage", "it holds for the whole machine"], name);
  }
});

Deno.test("the kernel's own way of writing a value is the same value", async () => {
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

Deno.test("a sysctl that can only be written is taken for set", async () => {
  await new Machine({}, { kept: true }).set({ "net.ipv4.route.flush": "1" });
});
