// Prints which programs a pod of built-in plugins starts: the second one, because the first one finds out what holds for all,
// and makes the bridge.
import { keepIp } from "../../lib/kernel/ip_use.ts";
import { inWorld, sh } from "./builtin_world.ts";
import { Costs } from "./costs.ts";
import { bridgeNetwork, FLAVOURS, runtimeOf } from "./flavours.ts";

await inWorld(async (world) => {
  const [flavour] = FLAVOURS;
  if (flavour === undefined) throw new TypeError("Cannot count: there are no plugins");
  const more = { isGateway: true, isDefaultGateway: true };
  await bridgeNetwork(world, "one", { more });
  await bridgeNetwork(world, "two", { number: 1, more: { ...more, bridge: `${world.bridge}b` } });
  const { sandboxes } = runtimeOf(world, flavour);
  const networks = [{ name: "one", ifName: "eth0" }];
  const pod = async (name: string, sysctls?: Record<string, string>) =>
    await sandboxes.run({ name: `${name}-${world.tag}`, networks, sysctls });
  await sandboxes.remove((await pod("first")).id, { force: true });
  using costs = new Costs();
  const count = async (name: string, sysctls?: Record<string, string>) => {
    costs.take();
    const { id } = await pod(name, sysctls);
    const run = costs.take().programs;
    await sandboxes.remove(id, { force: true });
    return { run, remove: costs.take().programs };
  };
  const alone = await count("second");
  await using _ip = keepIp();
  await count("third");
  const kept = await count("fourth");
  networks.push({ name: "two", ifName: "eth1" });
  const sysctls = { "net.ipv4.ip_default_ttl": "77" };
  await count("fifth", sysctls);
  const several = await count("sixth", sysctls);
  await sh(`ip link delete dev ${world.bridge}b`);
  console.log(JSON.stringify({ ...alone, kept, several }));
})();
