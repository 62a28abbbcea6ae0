// Prints which programs a pod of built-in plugins starts: the second one, because the first one finds out what holds for all,
// and makes the bridge.
import { keepIp } from "../../lib/kernel/ip_use.ts";
import { inWorld } from "./builtin_world.ts";
import { Costs } from "./costs.ts";
import { bridgeNetwork, FLAVOURS, runtimeOf } from "./flavours.ts";

await inWorld(async (world) => {
  const [flavour] = FLAVOURS;
  if (flavour === undefined) throw new TypeError("Cannot count: there are no plugins");
  await bridgeNetwork(world, "one", { more: { isGateway: true } });
  const { sandboxes } = runtimeOf(world, flavour);
  const networks = [{ name: "one", ifName: "eth0" }];
  const pod = async (name: string) => await sandboxes.run({ name: `${name}-${world.tag}`, networks });
  await sandboxes.remove((await pod("first")).id, { force: true });
  using costs = new Costs();
  const count = async (name: string) => {
    costs.take();
    const { id } = await pod(name);
    const run = costs.take().programs;
    await sandboxes.remove(id, { force: true });
    return { run, remove: costs.take().programs };
  };
  const alone = await count("second");
  await using _ip = keepIp();
  await count("third");
  console.log(JSON.stringify({ ...alone, kept: await count("fourth") }));
})();
