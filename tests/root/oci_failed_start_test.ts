// Containers of the real runc whose start fails, or whose runtime is killed, after the hook has given them
// networks.
import { assertEquals, assertMatch } from "@std/assert";
import { binaryTest, type BinaryWorld, sh, until } from "./binary_world.ts";
import { PODWIRE_BINARY } from "./need.ts";
import { Container, type ContainerOptions } from "./oci_container.ts";

// deno-lint-ignore no-explicit-any
type Item = any;

function startTest(name: string, fn: (world: BinaryWorld) => Promise<void>): void {
  binaryTest(name, ["runc", "busybox"], async (world) => {
    await world.list([world.bridgePlugin()]);
    await fn(world);
  });
}

/**
 * A container that requests the world's network, and whose end is not reported, as by an engine whose runtime
 * forgets it.
 */
async function container(
  world: BinaryWorld,
  name: string,
  { root, ...options }: ContainerOptions & { root?: string | undefined } = {},
): Promise<Container> {
  const annotations = { "podwire.networks": world.network };
  return await new Container(world, name, root).bundled({ annotations, poststop: false, ...options });
}

/** Created and waiting for its start; then its first process is killed, visibly for all. */
async function createdAndKilled(world: BinaryWorld, made: Container): Promise<void> {
  const { code, stderr } = await made.runc("create", made.id);
  assertEquals(code, 0, stderr);
  const pid = (await made.state())?.pid;
  await sh(`kill -9 ${pid}`);
  await until("the process is gone", async () => (await world.json(["inspect", made.id])).pid === null);
}

async function why(world: BinaryWorld, id: string): Promise<string> {
  const { kept } = await world.json(["recover"]);
  return kept.find((item: Item) => item.kind === "sandbox" && item.containerId === id)?.why;
}

const FAILURES: readonly [string, ContainerOptions][] = [
  ["its program does not exist", { program: "/nosuch" }],
  ["a second hook fails", { script: "sleep 600", hooks: { createRuntime: "exit 1" } }],
  ["a hook inside fails", { script: "sleep 600", hooks: { createContainer: "exit 1" } }],
  ["a hook after its start fails", { script: "sleep 600", hooks: { poststart: "exit 1" } }],
];

startTest("a container whose start fails leaves nothing that gc does not tear down", async (world) => {
  for (const [index, [how, options]] of FAILURES.entries()) {
    await using made = await container(world, `c${index}`, options);
    const { code } = await made.runc("run", made.id);
    assertEquals(code === 0, false, how);
    const [left] = await world.json(["ps"]);
    assertEquals({ id: left?.id, state: left?.state }, { id: made.id, state: "broken" }, how);
    assertMatch(left.reason, /its container has ended: its process \d+ is gone/);
    const wouldGo = await world.json(["gc", "--dry-run"]);
    assertEquals((await world.json(["ps"])).length, 1, "a dry run changes nothing");
    const { removed, failed } = await world.json(["gc"]);
    assertEquals({ removed, failed }, { removed: wouldGo.removed, failed: [] }, how);
    assertEquals(removed.map(({ kind }: Item) => kind), ["attachment", "sandbox"], how);
    assertMatch(removed[1].why, /its OCI runtime has no such container/);
    assertEquals(await world.traces(), [], how);
  }
});

startTest(
  "recovery tears down what a failed start left, and so does the next container",
  async (world) => {
    await using first = await container(world, "first", { program: "/nosuch" });
    await first.runc("run", first.id);
    assertEquals((await world.json(["ps"])).length, 1);
    assertEquals((await world.json(["recover"])).failed, []);
    assertEquals(await world.traces(), []);

    // Also when the runtime keeps its containers elsewhere, and the next one wants the same name.
    const same = {
      annotations: { "podwire.networks": world.network, "podwire.name": "web" },
      rules: ["--allow-annotation=name"],
    };
    const root = `${world.dir}/runc`;
    await using second = await container(world, "second", { ...same, program: "/nosuch", root });
    await second.runc("run", second.id);
    assertEquals((await world.json(["ps"])).map(({ name }: Item) => name), ["web"]);
    await using third = await container(world, "third", {
      ...same,
      script: "exec sleep 600",
      poststop: true,
      root,
    });
    const created = await third.runc("create", third.id);
    assertEquals(created.code, 0, created.stderr);
    assertEquals((await world.json(["ps"])).map(({ id, name }: Item) => [id, name]), [[third.id, "web"]]);
    assertEquals((await third.runc("delete", "--force", third.id)).code, 0);
    assertEquals(await world.traces(), []);
  },
);

startTest(
  "a container that its runtime still has is left alone until the runtime deletes it",
  async (world) => {
    for (const root of [undefined, `${world.dir}/runc`]) {
      await using made = await container(world, `web${root === undefined ? "" : "-root"}`, {
        poststop: true,
        root,
      });
      await createdAndKilled(world, made);
      assertMatch(await why(world, made.id), /its OCI runtime still has it/);
      assertEquals((await world.json(["gc"])).removed, []);
      const [left] = await world.json(["ps"]);
      assertEquals({ state: left.state, networksCount: left.networks.length }, {
        state: "broken",
        networksCount: 1,
      });
      assertEquals((await made.runc("delete", "--force", made.id)).code, 0);
      assertEquals(await world.traces(), []);
    }
  },
);

startTest(
  "a container whose runtime was killed with it is gone once no record of it exists",
  async (world) => {
    await using made = await container(world, "web");
    await createdAndKilled(world, made);
    await sh(`rm -rf /run/runc/${made.id}`);
    assertEquals((await world.json(["recover"])).failed, []);
    assertEquals(await world.traces(), []);
  },
);

startTest("if the runtime cannot be asked, a container exists as long as its bundle does", async (world) => {
  await using made = await container(world, "web", { direct: false });
  await createdAndKilled(world, made);
  await sh(`rm -rf /run/runc/${made.id}`);
  assertMatch(await why(world, made.id), /its OCI runtime does not answer, and its bundle .* is there/);
  assertEquals((await world.json(["gc"])).removed, []);
  await Deno.remove(made.bundle, { recursive: true });
  const { removed } = await world.json(["gc"]);
  assertMatch(removed[1].why, /its bundle .* is gone/);
  assertEquals(await world.traces(), []);
});

startTest(
  "what is in use by others, or cannot be judged from here, is left alone and reported",
  async (world) => {
    await using made = await container(world, "web");
    await createdAndKilled(world, made);
    await sh(`rm -rf /run/runc/${made.id}`);
    // From another PID namespace every process looks as if it had ended.
    const elsewhere = await sh(
      `unshare --pid --fork --mount-proc ${PODWIRE_BINARY} ${world.dirs.join(" ")} recover --json`,
    );
    assertMatch(JSON.stringify(JSON.parse(elsewhere).kept), /it belongs to another PID namespace/);
    const { netns } = (await world.json(["ps"]))[0];
    const joined = new Deno.Command("nsenter", { args: [`--net=${netns}`, "sleep", "600"] }).spawn();
    try {
      await until(
        "it is inside",
        async () => (await why(world, made.id)).includes("processes are in its namespace"),
      );
      assertEquals((await world.json(["gc"])).removed, []);
    } finally {
      joined.kill("SIGKILL");
      await joined.status;
    }
    assertEquals((await world.json(["gc"])).failed, []);
    assertEquals(await world.traces(), []);
  },
);

startTest("a daemon tears down within seconds what a failed start left, without a request", async (world) => {
  const socket = `${world.dir}/podwire.sock`;
  const daemon = world.start(["serve", "--socket", socket]);
  const output = daemon.output();
  try {
    await until("it serves", () => isSocket(socket));
    await using made = await container(world, "web", { program: "/nosuch" });
    await made.runc("run", made.id);
    await until("the sandbox is gone", async () => (await world.json(["ps"])).length === 0);
    await using alive = await container(world, "alive", { script: "exec sleep 600", poststop: true });
    const created = await alive.runc("create", alive.id);
    assertEquals(created.code, 0, created.stderr);
    assertEquals((await world.json(["ps"])).map(({ state }: Item) => state), ["ready"]);
    assertEquals((await alive.runc("delete", "--force", alive.id)).code, 0);
  } finally {
    daemon.kill("SIGTERM");
    await output;
  }
  // The daemon's memory of the networks is there for the next one.
  assertEquals((await world.traces()).filter((trace) => trace !== "state/readiness.json"), []);
});

async function isSocket(path: string): Promise<boolean> {
  return await Deno.stat(path).then(({ isSocket }) => isSocket === true, () => false);
}
