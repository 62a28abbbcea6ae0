// How pods are opened and called, and what they need of the machine.
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { type RunCommand, runCommand } from "../../lib/host/command.ts";
import { podsTest } from "./pods_world.ts";
import { until } from "./sandbox_world.ts";

podsTest(
  "F4 every call works without a signal, and does nothing with one that has fired",
  async (world) => {
    const { sandbox } = world;
    await sandbox.network("a");
    await using pods = await world.open();
    const pod = await world.pod("web");
    const calls = (signal?: AbortSignal) => {
      const options = { signal };
      return [
        () => pods.setUp(pod, options),
        () => pods.podStatus(pod.containerId, options),
        () => pods.gc({}, options),
        () => pods.recover(options),
        () => pods.status({ fresh: true }, options),
        () => pods.networks(options),
        () => pods.reload(options),
        () => pods.defaultNetwork(options),
        () => pods.attachments({}, options),
        () => pods.tearDown(pod.containerId, options),
      ];
    };
    for (const call of calls(AbortSignal.abort())) {
      const { kind } = await assertRejects(call, CniError, undefined, `${call}`);
      assertEquals([`${call}`, kind], [`${call}`, "cancelled"]);
    }
    assertEquals((await sandbox.calls()).filter((line) => line.includes("web")), []);
    for (const call of calls()) await call();
    assertEquals((await sandbox.calls()).filter((line) => line.includes("web")), [
      "a ADD web eth0",
      "a CHECK web eth0",
      "a DEL web eth0",
    ]);
  },
);

podsTest(
  "F7 G6 the cache is where the options say, and changes are noticed at once, or on request, as the options say",
  async (world) => {
    const { sandbox } = world;
    await using watching = await world.open({ watch: true, owner: "watching" });
    await using asking = await world.open({ cacheDir: `${sandbox.dir}/elsewhere` });
    const noticed: string[] = [];
    const heardBy = (who: string) => (entries: readonly { name: string | undefined }[]) => {
      for (const { name } of entries) noticed.push(`${who} ${name}`);
    };
    using _watching = watching.onNetworks(heardBy("watching"));
    using _asking = asking.onNetworks(heardBy("asking"));
    await sandbox.network("a");
    await until(() => Promise.resolve(noticed.length > 0));
    assertEquals(noticed, ["watching a"]);
    assertEquals((await asking.networks()).map(({ name }) => name), ["a"]);
    const pod = await world.pod("web");
    await asking.setUp(pod);
    const results = await Array.fromAsync(Deno.readDir(`${sandbox.dir}/elsewhere/results`));
    assertEquals(results.map(({ name }) => sandbox.plain(name)), ["a-web-eth0"]);
    assertEquals((await sandbox.left()).filter((name) => name.startsWith("cache/")), []);
    assertEquals(await asking.tearDown(pod.containerId), []);
  },
);

podsTest(
  "F62 a network whose file was written a moment ago is found, whatever was noticed",
  async (world) => {
    const { sandbox } = world;
    await using pods = await world.open({ watch: true, pollMs: 60_000 });
    for (const name of ["a", "b", "c"]) {
      const pod = await world.pod(name, { networks: [{ name }] });
      assertEquals((await assertRejects(() => pods.setUp(pod), CniError)).kind, "not-found");
      await sandbox.network(name);
      assertEquals((await pods.setUp(pod)).networks.map(({ name }) => name), [name]);
      assertEquals(await pods.tearDown(pod.containerId), []);
    }
  },
);

podsTest(
  "F11 G6 every program is run by the function of the options, and what plugins write goes to their log",
  async (world) => {
    const { sandbox } = world;
    const plugin = await sandbox.network("a", {
      ADD: { stdout: '{"cniVersion": "1.1.0"}', stderr: "hello from the plugin\n" },
    });
    const programs: string[] = [];
    const run: RunCommand = (request) => {
      programs.push(request.program);
      return runCommand(request);
    };
    await using pods = await world.open({ run });
    const pod = await world.pod("web");
    await pods.setUp(pod);
    assertEquals(await pods.tearDown(pod.containerId), []);
    const ran = programs.filter((program) => program === plugin.path).length;
    assertEquals(ran, (await plugin.calls()).length);
    assert(ran >= 2);
    assert(sandbox.log.all.includes("info hello from the plugin"), `${sandbox.log.all}`);
  },
);

podsTest(
  "F12 F121 without nsenter pods can be opened and inspected; a call that needs it reports that before any plugin runs",
  async (world) => {
    const { sandbox } = world;
    await sandbox.network("a");
    const run: RunCommand = ({ program, ...request }) =>
      runCommand({ program: program === "nsenter" ? "/nowhere/nsenter" : program, ...request });
    await using pods = await world.open({ run });
    assertEquals((await pods.networks()).map(({ name }) => name), ["a"]);
    const pod = await world.pod("web");
    const error = await assertRejects(() => pods.setUp(pod), CniError);
    assertStringIncludes(error.message, "nsenter");
    assertEquals((await sandbox.calls()).filter((line) => line.includes("web")), []);
    assertEquals(await sandbox.left(), ["netns/web"]);
  },
);

podsTest(
  "G26 G29 the networks of a pod are attached one after another, never at the same time",
  async (world) => {
    const { sandbox } = world;
    const script = `echo "begin $CNI_IFNAME" >>${sandbox.dir}/turns; sleep 0.2; ` +
      `echo "end $CNI_IFNAME" >>${sandbox.dir}/turns`;
    for (const name of ["a", "b", "c"]) {
      await sandbox.network(name, { ADD: { stdout: '{"cniVersion": "1.1.0"}', script } });
    }
    await using pods = await world.open();
    const pod = await world.pod("web", { networks: [{ name: "a" }, { name: "b" }, { name: "c" }] });
    const { networks } = await pods.setUp(pod);
    assertEquals(networks.map(({ name }) => name), ["a", "b", "c"]);
    const turns = (await Deno.readTextFile(`${sandbox.dir}/turns`)).trim().split("\n");
    assertEquals(turns, ["eth0", "eth1", "eth2"].flatMap((name) => [`begin ${name}`, `end ${name}`]));
    assertEquals(await pods.tearDown(pod.containerId), []);
  },
);
