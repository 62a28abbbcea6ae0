// The file with the network-status of a pod, and what inspect shows, on the real kernel.
import { assertEquals, assertRejects } from "@std/assert";
import { networkStatusOf, networkStatusToJson } from "../../lib/pod/network_status.ts";
import { networkStatusPath } from "../../lib/sandbox/network_status_file.ts";
import { need } from "./need.ts";
import { RouteWorld } from "./route_world.ts";

Deno.test({
  name: "the network-status of a pod is in a file, as its records are, until the pod is stopped",
  ...need("root", "ip"),
  fn: async () => {
    await using world = await RouteWorld.make("built-in");
    const { podwire: { sandboxes }, world: { dir } } = world;
    await world.networks({ a: ["10.80.0.0/24", "fd00:80::/64"], b: ["10.81.0.0/24"] });
    const id = world.world.base("pod");
    const file = networkStatusPath(`${dir}/state`, id);
    const read = async () => JSON.parse(await Deno.readTextFile(file));
    await sandboxes.run({
      id,
      namespace: "shop",
      source: { kind: "path", path: world.world.path("pod") },
      networks: [
        { name: world.name("a"), ifName: "net1", title: "shop/a" },
        { name: world.name("b"), ifName: "net2", title: "infra/b" },
      ],
    });
    const [first, second] = await read();
    assertEquals({ ...first, mac: "", mtu: 0 }, {
      name: "shop/a",
      interface: "net1",
      ips: ["10.80.0.2", "fd00:80::2"],
      mac: "",
      mtu: 0,
      default: false,
      dns: {},
      gateway: ["10.80.0.1", "fd00:80::1"],
    });
    assertEquals(
      { name: second.name, interface: second.interface, ips: second.ips, gateway: second.gateway },
      {
        name: "infra/b",
        interface: "net2",
        ips: ["10.81.0.2"],
        // The first network has the default route.
        gateway: undefined,
      },
    );
    const links = await world.world.json("ip -j link show net1", world.world.path("pod"));
    assertEquals(first.mac, links[0]?.address);
    const shown = await sandboxes.get(id);
    assertEquals(await read(), networkStatusToJson(networkStatusOf("shop", shown.networks)));
    await sandboxes.disconnect(id, world.name("a"));
    assertEquals((await read()).map(({ name }: { name: string }) => name), ["infra/b"]);
    // What a killed process left is swept.
    const left = networkStatusPath(`${dir}/state`, "gone");
    await Deno.writeTextFile(left, "[]");
    await Deno.writeTextFile(file, "[]");
    await world.podwire.recover();
    await assertRejects(() => Deno.stat(left), Deno.errors.NotFound);
    assertEquals((await read()).length, 1);
    await sandboxes.stop(id);
    await assertRejects(() => Deno.stat(file), Deno.errors.NotFound);
    await sandboxes.remove(id);
    assertEquals([...Deno.readDirSync(`${dir}/state/network-status`)].length, 0);
  },
});

Deno.test({
  name: "a sandbox that no annotation asked for has no file, and is shown all the same",
  ...need("root", "ip"),
  fn: async () => {
    await using world = await RouteWorld.make("built-in");
    await world.networks({ a: ["10.80.0.0/24"] });
    const sandbox = await world.run("a");
    const file = networkStatusPath(`${world.world.dir}/state`, sandbox.id);
    await assertRejects(() => Deno.stat(file), Deno.errors.NotFound);
    const [status] = networkStatusOf(sandbox.namespace, sandbox.networks);
    assertEquals({ name: status?.name, default: status?.default }, {
      name: `default/${world.name("a")}`,
      default: true,
    });
  },
});
