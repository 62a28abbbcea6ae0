import { assert, assertEquals, assertRejects } from "@std/assert";
import { dirname, fromFileUrl } from "@std/path";
import { HostError } from "../../lib/host/command.ts";
import { denoRules } from "../../lib/host/deno_rules.ts";
import { type ClaimedSocket, claimSocket } from "../../lib/host/socket.ts";
import { socketPaths } from "../../lib/host/socket_path.ts";
import { leaveDeadSocket } from "../dead_socket.ts";
import { inTempDir } from "../temp_dir.ts";
import { until } from "../until.ts";

/** A claimed socket and its listener, which the claim does not close. */
class Listening implements AsyncDisposable {
  listener: Deno.UnixListener | undefined;
  socket: ClaimedSocket | undefined;

  static async at(path: string): Promise<Listening> {
    const own = new Listening();
    try {
      own.socket = await claimSocket(path, (temporary) => {
        own.listener = Deno.listen({ transport: "unix", path: temporary });
      });
      return own;
    } catch (error) {
      own.listener?.close();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.listener?.close();
    this.listener = undefined;
    await this.socket?.release();
  }
}

const DENOW = fromFileUrl(new URL("../../denow", import.meta.url));
const namesIn = (dir: string) => [...Deno.readDirSync(dir)].map(({ name }) => name).sort();
const connect = (path: string) => Deno.connect({ transport: "unix", path });

Deno.test("claimSocket() makes a socket at the path that only its owner may connect to", () =>
  inTempDir(async (dir) => {
    const path = `${dir}/run/p.sock`;
    await using listening = await Listening.at(path);
    assertEquals((Deno.lstatSync(path).mode ?? 0) & 0o777, 0o600);
    assertEquals((Deno.statSync(`${dir}/run`).mode ?? 0) & 0o777, 0o700);
    assertEquals(namesIn(`${dir}/run`), ["p.sock", "p.sock.lock"]);
    (await connect(path)).close();
    assertEquals(await listening.socket?.state(), "ours");
  }));

Deno.test("a socket without a listener is replaced, and files of its making are removed", () =>
  inTempDir(async (dir) => {
    const path = `${dir}/p.sock`;
    await leaveDeadSocket(path);
    await Deno.mkdir(`${dir}/.podwire-0011aabb`);
    assert(Deno.lstatSync(path).isSocket);
    // A child process that another test starts now holds the closed listener for a moment.
    await until(() => connect(path).then((one) => one.close() ?? false, () => true), "no process listens");
    await using _listening = await Listening.at(path);
    (await connect(path)).close();
    assertEquals(namesIn(dir), ["p.sock", "p.sock.lock"]);
  }));

Deno.test("a socket that a process listens on is refused, and stays", () =>
  inTempDir(async (dir) => {
    const path = `${dir}/p.sock`;
    await using first = await Listening.at(path);
    const error = await assertRejects(() => Listening.at(path), HostError, "another process listens there");
    assertEquals(error.reason, "exists");
    assertEquals(await first.socket?.state(), "ours");
    (await connect(path)).close();
  }));

Deno.test("a path that is not a socket is refused, and stays", () =>
  inTempDir(async (dir) => {
    const path = `${dir}/p.sock`;
    await Deno.writeTextFile(path, "mine");
    const error = await assertRejects(() => Listening.at(path), HostError, "is not a socket");
    assertEquals(
      { reason: error.reason, text: await Deno.readTextFile(path) },
      { reason: "exists", text: "mine" },
    );
  }));

Deno.test("of ten concurrent claims of a path, one succeeds", () =>
  inTempDir(async (dir) => {
    const path = `${dir}/p.sock`;
    const tried = await Promise.allSettled(Array.from({ length: 10 }, () => Listening.at(path)));
    const made = tried.flatMap((one) => one.status === "fulfilled" ? [one.value] : []);
    assertEquals(made.length, 1);
    assertEquals(await made[0]?.socket?.state(), "ours");
    await made[0]?.[Symbol.asyncDispose]();
  }));

Deno.test("release() removes the path only while it leads to its own socket", () =>
  inTempDir(async (dir) => {
    const path = `${dir}/p.sock`;
    const first = await Listening.at(path);
    await Deno.remove(path);
    assertEquals(await first.socket?.state(), "missing");
    await using second = await Listening.at(path);
    assertEquals(await first.socket?.state(), "foreign");
    await first[Symbol.asyncDispose]();
    assertEquals(await second.socket?.state(), "ours");
    await second[Symbol.asyncDispose]();
    assertEquals(namesIn(dir), ["p.sock.lock"]);
  }));

Deno.test("release() creates nothing if the directory is gone", () =>
  inTempDir(async (dir) => {
    const listening = await Listening.at(`${dir}/run/p.sock`);
    await Deno.remove(`${dir}/run`, { recursive: true });
    await listening[Symbol.asyncDispose]();
    assertEquals(namesIn(dir), []);
  }));

Deno.test("socketPaths() returns every path that a claim needs a permission for with this Deno", async () => {
  const path = await Deno.makeTempDir({ prefix: "pwt-" }) + "/p.sock";
  try {
    const script = `
      import { claimSocket } from "${new URL("../../lib/host/socket.ts", import.meta.url)}";
      import { socketPaths } from "${new URL("../../lib/host/socket_path.ts", import.meta.url)}";
      import { missingFlags } from "${new URL("../../lib/host/permissions.ts", import.meta.url)}";
      const [path = "", flags = ""] = Deno.args;
      const sockets = socketPaths(path);
      console.log(JSON.stringify({ sockets, missing: missingFlags({ sockets }) }));
      if (flags === "") Deno.exit(0);
      let listener;
      const claimed = await claimSocket(path, (path) => listener = Deno.listen({ transport: "unix", path }));
      (await Deno.connect({ transport: "unix", path })).close();
      await claimed.release();
      listener.close();`;
    await Deno.writeTextFile(`${dirname(path)}/claim.ts`, script);
    const run = async (flags: string[], ...args: string[]) => {
      const own = [
        "run",
        "-q",
        "--no-prompt",
        "--no-check",
        ...flags,
        `${dirname(path)}/claim.ts`,
        path,
        ...args,
      ];
      const { code, stdout, stderr } = await new Deno.Command(DENOW, { args: own }).output();
      assertEquals(code, 0, new TextDecoder().decode(stderr));
      return JSON.parse(new TextDecoder().decode(stdout)) as { sockets: string[]; missing: string[] };
    };
    const { sockets, missing } = await run([]);
    assertEquals(sockets, socketPaths(path));
    const net = missing.filter((flag) => flag.startsWith("--allow-net"));
    const names = sockets.map((socket) => `unix:${socket}`).join(",");
    assertEquals(net, denoRules().socketsByNet ? [`--allow-net=${names}`] : []);
    const files = [`--allow-read=${dirname(path)}`, `--allow-write=${dirname(path)}`];
    assertEquals((await run([...files, ...net], "claim")).missing, []);
  } finally {
    await Deno.remove(dirname(path), { recursive: true });
  }
});

Deno.test("a path that is too long for a socket is refused with its length", () =>
  inTempDir(async (dir) => {
    const long = `${dir}/${"x".repeat(100)}`;
    await assertRejects(() => Listening.at(`${long}/p.sock`), HostError, "too long for a socket");
    assertEquals(namesIn(dir), []);
  }));
