// The daemon with the CRI under Deno, with exactly its permissions, then with each one left out.
import { assertEquals, assertStringIncludes } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { inParallel } from "../../lib/async/parallel.ts";
import { grantsFor } from "../../lib/host/permissions.ts";
import { socketPaths } from "../../lib/host/socket_path.ts";
import { CRI_CLIENT, type CriDaemon, podConfig, startCri } from "../cri/cri_world.ts";
import { HAS_LIBC } from "../open_libc.ts";
import { binaryTest, type BinaryWorld, isThere } from "./binary_world.ts";
import { leftIn } from "./daemon_world.ts";

const ROOT = fromFileUrl(new URL("../..", import.meta.url));

/** The variables that `podwire serve` reads: its own, and those that plugins get. */
const ENVIRONMENT = [
  ...["PATH", "HOME", "LANG", "LC_*", "TZ", "TRACEPARENT", "TRACESTATE", "BAGGAGE", "CNI_NETNS_OVERRIDE"],
  ...["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"].flatMap((name) => [name, name.toLowerCase()]),
  ...["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"],
].map((value) => ({ kind: "env", value }));

/** A flag of Deno with one of its values. */
interface Grant {
  readonly kind: string;
  readonly value: string;
}

/** What the daemon and a sandbox on a network of podwire's own bridge need, beside the whole of `--allow-ffi` and variables. */
function grantsOf({ dir, confDir, stateDir, netnsDir, dataDir }: BinaryWorld): readonly Grant[] {
  const changed = [stateDir, `${dir}/cache`, netnsDir, dataDir, `${dir}/run`];
  const sockets = ["p.sock", "cri.sock"].flatMap((name) => socketPaths(`${dir}/run/${name}`));
  const files = grantsFor({ read: [confDir, ...changed, "/proc"], write: changed, run: ["sh"] });
  return [...files, ...grantsFor({ sockets }).filter(({ kind }) => kind === "net")];
}

/** Files whose permission podwire does without, with a warning. */
const NAME_SERVERS = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/** The world whose program is the source under Deno. */
function underDeno(world: BinaryWorld, grants: readonly Grant[]): Pick<BinaryWorld, "dir" | "start"> {
  const all = [...grants, ...NAME_SERVERS.map((value) => ({ kind: "read", value }))];
  const flags = [...Map.groupBy(all, ({ kind }) => kind)].map(([kind, own]) =>
    `--allow-${kind}=${own.map(({ value }) => value).join(",")}`
  );
  return {
    dir: world.dir,
    start: (args) =>
      new Deno.Command(`${ROOT}denow`, {
        args: ["run", "-q", "--no-prompt", "--allow-ffi", ...flags, `${ROOT}cli.ts`, ...world.dirs, ...args],
        env: { PATH: "/usr/sbin:/usr/bin" },
        stdin: "null",
        stdout: "piped",
        stderr: "piped",
      }).spawn(),
  };
}

async function removeIfThere(dir: string): Promise<void> {
  if (await isThere(dir)) await Deno.remove(dir, { recursive: true });
}

/** The whole life of a sandbox. Returns why the daemon did not start or the sandbox was not made; undefined if it was. */
async function live(world: BinaryWorld, grants: readonly Grant[]): Promise<string | undefined> {
  let started: CriDaemon;
  try {
    started = await startCri(underDeno(world, [...grants, ...ENVIRONMENT]), ["--no-dhcp"]);
  } catch (error) {
    return String(error);
  }
  await using cri = started;
  const { client, daemon } = cri;
  const { code, details, response } = await client.call("RunPodSandbox", { config: podConfig("web") });
  if (code === "OK") {
    world.watch(response.pod_sandbox_id);
    const { status } = await client.ok("PodSandboxStatus", response);
    assertEquals(status.state, "SANDBOX_READY");
    await client.ok("StopPodSandbox", response);
    await client.ok("RemovePodSandbox", response);
  }
  assertEquals(await client.ok("ListPodSandbox"), { items: [] });
  const lines = await daemon.end();
  if (code !== "OK") return `${code}: ${details}`;
  assertEquals(lines.filter(({ level }) => level !== "info"), []);
  return undefined;
}

const libcTest: typeof binaryTest = (name, components, fn) =>
  binaryTest(name, components, fn, { ignore: !HAS_LIBC });

libcTest(
  "the CRI is served with exactly its permissions; each one that is missing is named, and nothing is half done",
  CRI_CLIENT,
  async (world) => {
    await world.list([world.bridgePlugin({ ipMasq: false })]);
    const grants = grantsOf(world);
    assertEquals(await live(world, grants), undefined);
    for (const grant of grants) {
      const flag = `--allow-${grant.kind}=`;
      // A configuration that was read before is used while its directory cannot be read.
      await removeIfThere(`${world.stateDir}/catalogs`);
      const why = await live(world, grants.filter((other) => other !== grant)) ?? "";
      assertStringIncludes(why, flag, `without ${flag}${grant.value}`);
      assertStringIncludes(why, grant.value);
      // What a plugin could not detach without its permission is on record, and nowhere else.
      const left = await leftIn(world);
      assertEquals(left.filter((trace) => !trace.startsWith("state/")), [], `without ${flag}${grant.value}`);
      await world.done(["recover"]);
      assertEquals(await leftIn(world), [], `without ${flag}${grant.value}`);
    }
  },
);

binaryTest("the daemon does not start without a variable that it reads, and names it", [], async (world) => {
  const start = (left: Grant) =>
    underDeno(world, [...grantsOf(world), ...ENVIRONMENT.filter((own) => own !== left)]).start;
  const args = ["serve", `--socket=${world.dir}/run/p.sock`, `--cri=${world.dir}/run/cri.sock`];
  await inParallel(ENVIRONMENT, 4, async (left) => {
    const { code, stderr } = await start(left)(args).output();
    const text = new TextDecoder().decode(stderr);
    assertEquals(code, 4, text);
    assertStringIncludes(text, `the Deno permission --allow-env=${left.value.replace("*", "")}`);
  });
  assertEquals(await leftIn(world), []);
});
