// Containers of the real Podman that get their networks from the hook, with the files that `oci-hook config`
// writes.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { type CommandOutcome, runCommand } from "../../lib/host/command.ts";
import { writeExecutable } from "../executable.ts";
import { binaryTest, type BinaryWorld, sh, SYSTEM_PATH, until } from "./binary_world.ts";
import { BUSYBOX, CNI_1_9_1, COMPONENTS_DIR, CONMON, PODMAN, RUNC } from "./need.ts";
import { unmountBelow } from "./unmount.ts";

/** Podman with a storage of its own, and a root file system of busybox. */
class Podman implements AsyncDisposable {
  readonly #dir: string;
  #libraries = "";

  private constructor(readonly world: BinaryWorld) {
    this.#dir = `${world.dir}/podman`;
  }

  static async open(world: BinaryWorld, rules: readonly string[] = []): Promise<Podman> {
    const podman = new Podman(world);
    for (const name of ["bin", "etc", "proc", "dev", "sys", "run", "tmp"]) {
      await Deno.mkdir(`${podman.rootfs}/${name}`, { recursive: true });
    }
    await Deno.copyFile(BUSYBOX, `${podman.rootfs}/bin/busybox`);
    for (const name of ["sh", "ip", "nc", "sleep"]) {
      await Deno.symlink("busybox", `${podman.rootfs}/bin/${name}`);
    }
    // Those of Podman and conmon: other components bring a C library of another Debian.
    podman.#libraries = (await sh(
      `ls -d ${COMPONENTS_DIR}/lib*/usr/lib/*-linux-gnu ${COMPONENTS_DIR}/lib*/lib/*-linux-gnu 2>/dev/null || :`,
    ))
      .trim().replaceAll("\n", ":");
    // Podman gives conmon an environment of its own, which conmon passes to the Podman that cleans up.
    const script = `#!/bin/sh\nLD_LIBRARY_PATH=${podman.#libraries} exec ${CONMON} "$@"\n`;
    writeExecutable(`${podman.#dir}/conmon`, script, "755");
    await Deno.writeTextFile(
      `${podman.#dir}/containers.conf`,
      `[engine]\nevents_logger = "none"\nconmon_path = ["${podman.#dir}/conmon"]\n`,
    );
    await world.done(["oci-hook", "config", "--dir", `${podman.#dir}/hooks.d`, ...rules]);
    return podman;
  }

  get rootfs(): string {
    return `${this.#dir}/rootfs`;
  }

  async call(...args: string[]): Promise<CommandOutcome> {
    return await runCommand({
      program: PODMAN,
      args: [...this.#options, ...args],
      env: this.#env,
    });
  }

  async done(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.call(...args);
    assertEquals({ args, code }, { args, code: 0 }, stderr);
    return stdout.trim();
  }

  /** Makes and starts a container on the world's network. */
  async run(name: string, annotations: readonly string[], ...command: string[]): Promise<CommandOutcome> {
    const asked = [`podwire.networks=${this.world.network}`, ...annotations];
    const flags = asked.flatMap((annotation) => ["--annotation", annotation]);
    const place = ["--name", name, "--network", "none", "--rootfs", this.rootfs];
    return await this.call("run", "--detach", ...flags, ...place, ...command);
  }

  async pid(name: string): Promise<number> {
    return Number(await this.done("inspect", "--format", "{{.State.Pid}}", name));
  }

  /** What a test left. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.call("rm", "--all", "--force", "--time=0");
    await unmountBelow(this.#dir);
  }

  get #env(): Readonly<Record<string, string>> {
    const CONTAINERS_CONF = `${this.#dir}/containers.conf`;
    return { PATH: SYSTEM_PATH, HOME: this.#dir, LD_LIBRARY_PATH: this.#libraries, CONTAINERS_CONF };
  }

  get #options(): readonly string[] {
    const dirs = { root: "graph", runroot: "run", tmpdir: "tmp", "hooks-dir": "hooks.d" };
    return [
      ...Object.entries(dirs).map(([option, name]) => `--${option}=${this.#dir}/${name}`),
      "--storage-driver=vfs",
      "--cgroup-manager=cgroupfs",
      `--conmon=${this.#dir}/conmon`,
      `--runtime=${RUNC}`,
    ];
  }
}

function podmanTest(name: string, fn: (world: BinaryWorld) => Promise<void>): void {
  binaryTest(name, ["podman", "runc", "busybox", "cni-1.9.1", "iptables"], async (world) => {
    await Deno.mkdir(world.pluginDir, { recursive: true });
    await Deno.symlink(`${CNI_1_9_1}/portmap`, `${world.pluginDir}/portmap`);
    await world.list([world.bridgePlugin(), { type: "portmap", capabilities: { portMappings: true } }]);
    await fn(world);
  });
}

const FOREVER = ["sh", "-c", "while :; do echo hello | nc -l -p 8080; done"];

/** The sandboxes, with the fields that matter here. */
async function states(world: BinaryWorld): Promise<string[]> {
  return (await world.json(["ps"])).map(({ state }: { state: string }) => state);
}

async function answers(world: BinaryWorld, port: number): Promise<boolean> {
  return await sh(`${BUSYBOX} nc -w 2 ${world.subnet4}.1 ${port} </dev/null || :`) === "hello\n";
}

podmanTest(
  "a container of Podman has its network and its port from run to rm, also when it is started again",
  async (world) => {
    const port = 20_000 + crypto.getRandomValues(new Uint16Array(1))[0]! % 20_000;
    await using podman = await Podman.open(world, [`--allow-host-ports=${port}`]);
    const started = await podman.run("web", [`podwire.ports=${port}:8080`], ...FOREVER);
    assertEquals(started.code, 0, started.stderr);
    await until("the published port answers", () => answers(world, port));
    const [sandbox] = await world.json(["ps"]);
    assertEquals({ state: sandbox.state, pid: sandbox.pid }, {
      state: "ready",
      pid: await podman.pid("web"),
    });
    assertEquals(sandbox.id, await podman.done("inspect", "--format", "{{.Id}}", "web"));

    await podman.done("restart", "--time=0", "web");
    const [again] = await world.json(["ps"]);
    assertEquals({ id: again.id, state: again.state, pid: again.pid }, {
      id: sandbox.id,
      state: "ready",
      pid: await podman.pid("web"),
    });
    assert(again.pid !== sandbox.pid, "it is another process");
    await until("the published port answers again", () => answers(world, port));

    await podman.done("kill", "web");
    await until("its network is down", async () => (await states(world)).length === 0);
    assertEquals(await world.traces(), []);
    await podman.done("start", "web");
    assertEquals(await states(world), ["ready"]);
    // Others may not tear down what is in use.
    assertEquals((await world.json(["gc"])).removed, []);
    assertEquals((await world.json(["recover"])).removed, []);
    await podman.done("rm", "--force", "--time=0", "web");
    assertEquals(await world.traces(), []);
  },
);

podmanTest(
  "a container of Podman whose command does not exist leaves neither name nor port nor address behind",
  async (world) => {
    const port = 20_000 + crypto.getRandomValues(new Uint16Array(1))[0]! % 20_000;
    await using podman = await Podman.open(world, [
      `--allow-host-ports=${port}`,
      "--allow-annotation=name,ip",
    ]);
    const wanted = [`podwire.ports=${port}:8080`, "podwire.name=web", `podwire.ip=${world.subnet4}.77`];
    const mistyped = await podman.run("mistyped", wanted, "nosuch");
    assertMatch(mistyped.stderr, /executable file .*not found/);
    // The next one gets them, although no sweep ran.
    const started = await podman.run("web", wanted, ...FOREVER);
    assertEquals(started.code, 0, started.stderr);
    const all = await world.json(["ps"]);
    assertEquals(all.map(({ name, ips: [ip] }: { name: string; ips: string[] }) => [name, ip]), [[
      "web",
      `${world.subnet4}.77`,
    ]]);
    await until("the published port answers", () => answers(world, port));
    await podman.done("rm", "--force", "--time=0", "web");

    for (const sweep of ["gc", "recover"]) {
      assertEquals((await podman.call("start", "mistyped")).code === 0, false);
      const { removed, failed } = await world.json([sweep]);
      assertEquals(failed, []);
      // Some versions of runc call poststop in spite of it.
      for (const { why } of removed) {
        assertMatch(why, /its OCI runtime has no such container|its sandbox is gone/);
      }
      assertEquals(await world.traces(), []);
    }
  },
);

podmanTest("a daemon tears down within seconds what Podman could not start", async (world) => {
  await using podman = await Podman.open(world);
  const socket = `${world.dir}/podwire.sock`;
  const daemon = world.start(["serve", "--socket", socket]);
  const output = daemon.output();
  try {
    await until("it serves", async () => await Deno.stat(socket).then(() => true, () => false));
    for (const name of ["a", "b"]) await podman.run(name, [], "nosuch");
    await until("the sandboxes are gone", async () => (await states(world)).length === 0);
    assertEquals((await podman.run("good", [], ...FOREVER)).code, 0);
    assertEquals(await states(world), ["ready"]);
    await podman.done("rm", "--force", "--time=0", "good");
  } finally {
    daemon.kill("SIGTERM");
    await output;
  }
  // The daemon's memory of the networks is there for the next one.
  assertEquals((await world.traces()).filter((trace) => trace !== "state/readiness.json"), []);
});

podmanTest(
  "a container of Podman whose processes were all killed does not block the next one",
  async (world) => {
    await using podman = await Podman.open(world);
    assertEquals((await podman.run("web", [], ...FOREVER)).code, 0);
    const [{ pid, id }] = await world.json(["ps"]);
    // As by a power failure: neither conmon nor runc reports the end, and what is in memory is gone.
    await sh(`kill -9 $(ps -o ppid= -p ${pid}) ${pid}`);
    await until("the process is gone", async () => (await world.json(["inspect", id])).pid === null);
    await sh(`rm -rf /run/runc/${id}`);
    await podman.call("rm", "--force", "--time=0", "web");
    const again = await podman.run("web", [], ...FOREVER);
    assertEquals(again.code, 0, again.stderr);
    const all = await world.json(["ps"]);
    assertEquals(all.map((sandbox: Record<string, unknown>) => [sandbox.id === id, sandbox.state]), [[
      false,
      "ready",
    ]]);
    await podman.done("rm", "--force", "--time=0", "web");
    assertEquals(await world.traces(), []);
  },
);

podmanTest(
  "an annotation that asks for something forbidden keeps a container of Podman from starting, and the error names the option",
  async (world) => {
    await using podman = await Podman.open(world, ["--allow-host-ports=8000-8999"]);
    for (
      const [annotation, option] of [["podwire.ports=22:22", "--allow-host-ports 22"], [
        "podwire.name=x",
        "--allow-annotation name",
      ]] as const
    ) {
      const { code, stderr } = await podman.run("web", [annotation], ...FOREVER);
      assertEquals(code === 0, false);
      assertMatch(stderr, new RegExp(option));
      await podman.done("rm", "--force", "web");
    }
    assertEquals(await world.traces(), []);
  },
);
