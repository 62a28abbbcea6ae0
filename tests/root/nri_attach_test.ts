// Pods of the real containerd that get networks of podwire, by its NRI.
import { assertEquals, assertStringIncludes } from "@std/assert";
import { Containerd, ENGINE } from "../nri/containerd.ts";
import { NETWORKS, startNri, writePolicy } from "../nri/nri_world.ts";
import { binaryTest } from "./binary_world.ts";

binaryTest(
  "a pod gets the networks that it names, ps shows it, and all is detached with it",
  ENGINE,
  async (world) => {
    await world.list([world.bridgePlugin({ ipMasq: false })]);
    await writePolicy(world, [world.network]);
    await using engine = await Containerd.open(world);
    await using nri = await startNri(world, engine);
    const config = engine.pod("web", { [NETWORKS]: `${world.network},${world.network}@back` });
    const pod = world.watch(await engine.run(config));
    await engine.start(pod, config);
    assertEquals(await engine.links(pod), ["back", "eth0", "net1"]);
    const shown = await world.json(["inspect", pod]);
    assertEquals(
      {
        ...{ id: shown.id, name: shown.name, namespace: shown.namespace, uid: shown.uid, state: shown.state },
        networks: shown.networks.map(({ ifName }: { ifName: string }) => ifName),
        engine: shown.nri.engine.split(" ")[0],
        status: shown.networkStatus.map((
          { name, interface: ifName }: Record<string, string>,
        ) => [name, ifName]),
      },
      {
        ...{ id: pod, name: "web", namespace: "shop", uid: "uid-web", state: "ready" },
        networks: ["net1", "back"],
        engine: "containerd",
        status: ["net1", "back"].map((ifName) => [`shop/${world.network}`, ifName]),
      },
    );
    const owned = await world.refused(1, ["rm", pod]);
    assertStringIncludes(owned.msg, 'the sandbox "shop/web" belongs to a pod of containerd');
    const plain = engine.pod("plain");
    const other = await engine.run(plain);
    await engine.start(other, plain);
    assertEquals(await engine.links(other), ["eth0"]);
    assertEquals((await world.json(["ps"])).length, 1);
    await engine.remove(pod);
    await engine.remove(other);
    await nri.end();
    assertEquals(await world.json(["ps"]), []);
    assertEquals(await world.json(["attachments"]), []);
  },
);
