// The daemon notices by itself that a container has ended, or that a namespace was unmounted.
import { assertEquals, assertMatch } from "@std/assert";
import { dirname } from "@std/path";
import { parseExposition, valueOf } from "../daemon/prometheus_text.ts";
import { binaryTest, type BinaryWorld, sh, SYSTEM_PATH, until } from "./binary_world.ts";
import { DaemonProcess, leftIn, writeAll } from "./daemon_world.ts";
import { CATATONIT, RUNC } from "./need.ts";

const BUILTIN = "--builtin=prefer";
const env = { PATH: `${dirname(RUNC)}:${dirname(CATATONIT)}:${SYSTEM_PATH}` };

async function start(world: BinaryWorld): Promise<DaemonProcess> {
  await world.list([world.bridgePlugin({ ipMasq: false })]);
  return await DaemonProcess.start(world, [BUILTIN], env);
}

/** The daemon's events about its sandboxes. */
class EventLog implements AsyncDisposable {
  #heard = "";
  readonly #reading: Promise<void>;

  private constructor(readonly connection: Deno.UnixConn) {
    this.#reading = this.#read().catch(() => {});
  }

  static async of(daemon: DaemonProcess): Promise<EventLog> {
    const events = new EventLog(await daemon.connect());
    await writeAll(events.connection, "GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n");
    await until("the stream is open", () => Promise.resolve(events.#heard.includes(": podwire")));
    return events;
  }

  async #read(): Promise<void> {
    for await (const chunk of this.connection.readable.pipeThrough(new TextDecoderStream())) {
      this.#heard += chunk;
    }
  }

  /** The states of a sandbox in the events, each with the reason. */
  of(id: string): readonly string[] {
    const events = [...this.#heard.matchAll(/^data: (\{.*\})$/gm)].map(([, text = ""]) => JSON.parse(text));
    return events.filter((event) => event.type === "sandbox" && event.id === id && event.sandbox !== null)
      .map(({ sandbox: { state, reason = "" } }) => `${state} ${reason}`.trim());
  }

  /** Waits until the last event of a sandbox is so. */
  async hears(id: string, pattern: RegExp): Promise<void> {
    await until(`${id}: ${pattern}`, () => Promise.resolve(pattern.test(this.of(id).at(-1) ?? "")));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.connection.close();
    } catch {
      // The daemon has closed it.
    }
    await this.#reading;
  }
}

async function metricsOf(
  daemon: DaemonProcess,
): Promise<(name: string, state?: string) => number | undefined> {
  const families = parseExposition((await daemon.call("GET", "/metrics")).text);
  return (name, state) => valueOf(families, `podwire_${name}`, state === undefined ? {} : { state });
}

binaryTest(
  "an infra container that ends by itself is reported by an event, the log and the metrics, whichever process made it",
  ["runc", "catatonit"],
  async (world) => {
    await using daemon = await start(world);
    await using events = await EventLog.of(daemon);
    const [own, beside, stopped, last] = ["own", "beside", "stopped", "last"].map((name) => world.id(name));
    const run = async (id: string | undefined) => {
      const { status, json, text } = await daemon.call("POST", "/v1/sandboxes", {
        id,
        name: id,
        infra: true,
      });
      assertEquals(status, 201, text);
      return json.pid as number;
    };
    const pids = [
      await run(own),
      (await world.json(["run", beside!, "--id", beside!, "--infra", BUILTIN], { env })).pid as number,
    ];
    await run(stopped);
    for (const id of [own!, beside!, stopped!]) await events.hears(id, /^ready$/);
    assertEquals((await metricsOf(daemon))("infra_deaths_total"), 0);

    for (const pid of pids) Deno.kill(pid, "SIGKILL");
    assertEquals((await daemon.call("POST", `/v1/sandboxes/${stopped}/stop`)).status, 200);
    const ended = (pid: number | undefined) =>
      new RegExp(`^broken its infra container has ended: its process ${pid} is gone; runc says .* stopped$`);
    await events.hears(own!, ended(pids[0]));
    await events.hears(beside!, ended(pids[1]));
    await events.hears(stopped!, /^stopped$/);
    await until("both are broken in the metrics", async () => {
      const value = await metricsOf(daemon);
      return value("infra_deaths_total") === 2 && value("sandboxes", "broken") === 2;
    });
    assertEquals((await daemon.call("POST", `/v1/sandboxes/${own}/stop`)).status, 200);
    await events.hears(own!, /^stopped$/);
    await world.done(["rm", beside!], { env });

    // By then a stopped one, or one that was reported twice, would have been counted.
    pids.push(await run(last));
    Deno.kill(pids[2]!, "SIGKILL");
    await events.hears(last!, ended(pids[2]));
    await until("it is counted", async () => (await metricsOf(daemon))("infra_deaths_total") === 3);
    for (const id of [own, stopped, last]) {
      assertEquals((await daemon.call("DELETE", `/v1/sandboxes/${id}`)).status, 204);
    }
    const lines = (await daemon.end()).filter(({ msg }) => msg === "an infra container has ended by itself");
    const deaths = lines.map(({ level, sandbox, pid }) => `${level} ${sandbox} ${pid}`).sort();
    const expected = [own, beside, last].map((id, index) => `warn ${id} ${pids[index]}`).sort();
    assertEquals(deaths.map((line) => line.toLowerCase()), expected.map((line) => line.toLowerCase()));
    for (const { reason } of lines) {
      assertMatch(String(reason), /^its infra container has ended: its process/);
    }
    assertEquals(await leftIn(world), []);
  },
);

binaryTest(
  "a namespace that others unmounted is reported by an event",
  [],
  async (world) => {
    await using daemon = await start(world);
    await using events = await EventLog.of(daemon);
    const [unmounted, kept] = [world.id("unmounted"), world.id("kept")];
    for (const id of [unmounted, kept]) {
      const { status, json, text } = await daemon.call("POST", "/v1/sandboxes", { id, name: id });
      assertEquals(status, 201, text);
      await events.hears(id, /^ready$/);
      if (id === unmounted) await sh(`umount ${json.netns}`);
    }
    await events.hears(unmounted, /^broken .*: is a plain file, not a network namespace$/);
    assertEquals(events.of(kept), ["ready"]);
    for (const id of [unmounted, kept]) {
      assertEquals((await daemon.call("DELETE", `/v1/sandboxes/${id}`)).status, 204);
    }
    await daemon.end();
    assertEquals(await leftIn(world), []);
  },
);
