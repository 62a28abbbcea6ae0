// The built-in host-local, called as a runtime does.
import { assertEquals } from "@std/assert";
import type { JsonObject } from "../../lib/cni/json.ts";
import type { Verb } from "../../lib/plugin/invocation.ts";
import { type Answer, callBuiltin, resultOf } from "../root/builtin_call.ts";

const NAME = "web";

/** What a call differs in. */
export interface Ask {
  readonly id?: string;
  readonly ifName?: string;
  readonly args?: string;
  readonly version?: string;
  readonly ipam?: JsonObject;
  readonly more?: JsonObject;
}

/** Calls of the built-in host-local with one configuration. */
export class Ipam {
  constructor(readonly dir: string, readonly ipam: JsonObject) {}

  call(
    verb: Verb,
    { id = "c1", ifName = "eth0", args = "", version = "1.1.0", ipam, more }: Ask = {},
  ): Promise<Answer> {
    return callBuiltin("host-local", {
      verb,
      containerId: id,
      netns: "/nowhere/c1",
      ifName,
      args,
      config: {
        cniVersion: version,
        name: NAME,
        type: "bridge",
        ipam: { type: "host-local", dataDir: this.dir, ...(ipam ?? this.ipam) },
        ...more,
      },
    });
  }

  async add(ask: Ask = {}): Promise<string[]> {
    return (resultOf(await this.call("ADD", ask)).ips ?? []).map(({ address }) => address);
  }

  async refusal(verb: Verb, ask: Ask = {}): Promise<{ code: number; msg: string }> {
    const { code, document } = await this.call(verb, ask);
    assertEquals(code, 1);
    return { code: document.code, msg: document.msg };
  }

  async done(verb: Verb, ask: Ask = {}): Promise<Answer> {
    const answer = await this.call(verb, ask);
    assertEquals(answer.code, 0, JSON.stringify(answer.document));
    return answer;
  }

  path(name: string): string {
    return `${this.dir}/${NAME}/${name}`;
  }

  /** The reserved addresses with their owners. */
  reserved(): Record<string, string> {
    const names = Array.from(Deno.readDirSync(`${this.dir}/${NAME}`), ({ name }) => name);
    return Object.fromEntries(
      names.filter((name) => name !== "lock" && !name.startsWith("last_")).sort()
        .map((name) => [name, Deno.readTextFileSync(this.path(name))]),
    );
  }
}

/** Runs a test with a directory of its own. */
export function withIpam(ipam: JsonObject, fn: (ipam: Ipam) => Promise<void>): () => Promise<void> {
  return async () => {
    const dir = await Deno.makeTempDir({ prefix: "pwt-" });
    try {
      await fn(new Ipam(dir, ipam));
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  };
}
