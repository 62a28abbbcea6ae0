// Files that block or exhaust their reader, in every directory that podwire reads: each command ends, and
// names the file.
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { binaryTest, type BinaryWorld, sh } from "./binary_world.ts";

/** What takes the place of a file. */
const PLANTS: Readonly<Record<string, { readonly make: (path: string) => string; readonly why: string }>> = {
  "a FIFO": { make: (path) => `mkfifo ${path}`, why: "it is a FIFO, not a regular file" },
  "a link to /dev/zero": {
    make: (path) => `ln -s /dev/zero ${path}`,
    why: "it is a device, not a regular file",
  },
  "a file of 3 GB": { make: (path) => `truncate -s 3G ${path}`, why: "it is larger than 4 MiB" },
};

/** Far less than a reader needs that waits for a FIFO. */
const LIMIT_MS = 60_000;

/** Runs a command, which must end by itself. */
async function ended(world: BinaryWorld, args: readonly string[], stdin?: string) {
  const signal = AbortSignal.timeout(LIMIT_MS);
  const outcome = await world.podwire(args, { signal, ...(stdin === undefined ? {} : { stdin }) });
  assertEquals({ args, ended: outcome.ended }, { args, ended: "exit" });
  return outcome;
}

for (const [what, { make, why }] of Object.entries(PLANTS)) {
  binaryTest(`${what} in the configuration directory is a file that cannot be used`, [], async (world) => {
    await world.list([world.bridgePlugin()]);
    await sh(make(`${world.confDir}/zz.conf`));
    await sh(`mkdir ${world.confDir}/folder`);
    await sh(make(`${world.confDir}/folder/1.conf`));
    await world.conf("zz.conflist", JSON.stringify({ cniVersion: "1.0.0", name: "folder" }));
    const { stdout } = await ended(world, ["networks", "--json"]);
    const bad = JSON.parse(stdout).slice(1);
    assertEquals(
      bad.map(({ file, status, reason }: Record<string, string>) => [file, status, reason]),
      ["zz.conf", "folder/1.conf"].map((file) => [
        `${world.confDir}/${file}`,
        "rejected",
        `the configuration cannot be read: ${why}`,
      ]),
    );
    const added = await ended(world, ["add", "folder", "/proc/self/ns/net"]);
    assert(added.code !== 0);
    const { code, stderr } = await ended(world, ["run", "web", "--id", world.id("web")]);
    assertEquals(code, 0, stderr);
  });

  binaryTest(
    `${what} among the records, the cache and the addresses makes no command wait`,
    [],
    async (world) => {
      await world.list([world.bridgePlugin()]);
      await world.done(["run", "web", "--id", world.id("web")]);
      const network = `${world.dataDir}/${world.network}`;
      const places = [
        `${world.stateDir}/records/planted.rec`,
        `${world.stateDir}/sandboxes/planted.json`,
        `${world.stateDir}/names/default/planted`,
        `${world.stateDir}/attachments/planted/eth0@${world.network}.json`,
        `${world.stateDir}/ports/planted`,
        `${world.stateDir}/failed/planted`,
        `${world.dir}/cache/results/planted-x-eth0`,
        `${network}/${world.subnet4}.77`,
      ];
      for (const path of places) await sh(`mkdir -p ${path.slice(0, path.lastIndexOf("/"))}; ${make(path)}`);
      for (
        const args of [
          ["ps"],
          ["attachments"],
          ["run", "two", "--id", world.id("two")],
          ["gc", "--dry-run"],
          ["recover"],
          ["gc"],
          ["rm", "-f", "two"],
          ["rm", "-f", "planted"],
          ["rm", "-f", "web"],
        ]
      ) await ended(world, args);
    },
  );

  binaryTest(
    `${what} in the place of the memory of the directory or the boot is skipped`,
    [],
    async (world) => {
      await world.list([world.bridgePlugin()]);
      await world.done(["run", "web", "--id", world.id("web")]);
      for (
        const file of (await sh(
          `ls ${world.stateDir}/catalogs/*.json ${world.stateDir}/boot-id ${world.stateDir}/format`,
        )).split("\n")
      ) {
        if (file !== "") await sh(`rm ${file}; ${make(file)}`);
      }
      for (const args of [["networks"], ["status"], ["rm", "-f", "web"], ["run", "web"], ["rm", "web"]]) {
        await ended(world, args);
      }
    },
  );

  binaryTest(`${what} as a plugin's resolv.conf is an error that names it`, [], async (world) => {
    const path = `${world.dir}/resolv.conf`;
    await sh(make(path));
    const ipam = { type: "host-local", dataDir: world.dataDir, resolvConf: path };
    const ranges = [[{ subnet: `${world.subnet4}.0/24` }]];
    await world.list([world.bridgePlugin({ ipam: { ...ipam, ranges } })]);
    const { code, stderr } = await ended(world, ["run", "web", "--id", world.id("web")]);
    assertEquals(code, 1);
    assertStringIncludes(stderr, `Cannot read "${path}": ${why}`);
  });
}

binaryTest("the hook and a plugin refuse an input without end", [], async (world) => {
  const script = (args: string) => `dist/podwire ${args} </dev/zero 2>&1; test $? != 0 || echo "it went on"`;
  const hook = await sh(`timeout 60 ${script("oci-hook createRuntime")}`);
  assertStringIncludes(hook, "1048576 bytes");
  const env = "CNI_COMMAND=ADD CNI_CONTAINERID=x CNI_NETNS=/run/netns/x CNI_IFNAME=eth0 CNI_PATH=/bin";
  const plugin = await sh(`${env} timeout 60 ${script("plugin bridge")}`);
  assertStringIncludes(plugin, "16777216 bytes");
  assertEquals(await world.traces(), []);
});

binaryTest("SIGTERM ends a plugin whose input never comes", [], async (world) => {
  const input = `${world.dir}/input`;
  await sh(`mkfifo ${input}`);
  const env = "CNI_COMMAND=ADD CNI_CONTAINERID=x CNI_NETNS=/run/netns/x CNI_IFNAME=eth0 CNI_PATH=/bin";
  // `timeout` exits 124 if its signal has ended the program, 137 if it took SIGKILL.
  const code = await sh(
    `${env} timeout -k 20 3 dist/podwire plugin bridge <>${input} >/dev/null 2>&1; echo $?`,
  );
  assertEquals(code.trim(), "124");
});

binaryTest(
  "a result that cannot be written leaves nothing behind; a closed pipe is not a failure",
  [],
  async (world) => {
    await world.list([world.bridgePlugin()]);
    const options = world.dirs.join(" ");
    const id = world.id("web");
    const full = (args: string) => sh(`dist/podwire ${options} ${args} 2>&1 >/dev/full; echo "exit $?"`);
    for (const args of [`run web --id ${id}`, `run web --id ${id} --json`]) {
      const said = await full(args);
      assertStringIncludes(said, "Cannot write the result to standard output");
      assertStringIncludes(said.replaceAll('\\"', '"'), 'the sandbox "web" was removed again');
      assertStringIncludes(said, "exit 1");
      assertEquals(await world.json(["ps"]), []);
    }
    const netns = `pwt-${world.tag}`;
    await sh(`ip netns add ${netns}`);
    try {
      const said = await full(`add ${world.network} /run/netns/${netns} --id ${id}`);
      assertStringIncludes(said, "was removed again");
      assertEquals(await world.json(["attachments"]), []);
      assertEquals(await world.traces(), []);
    } finally {
      await sh(`ip netns delete ${netns}`);
    }
    await sh(`dist/podwire ${options} run web --id ${id} | :`);
    assertEquals((await world.json(["ps"])).length, 1);
    await world.done(["rm", "-f", "web"]);
  },
);
