/** Tests with every release of the reference plugins. */
import { need } from "./need.ts";
import { type Feature, needKernel } from "./plugins_kernel.ts";
import { PluginWorld, type Release, RELEASES } from "./plugins_world.ts";

/** Registers a test in a node of its own, with the pods "a" and "b", for each release of the reference plugins. */
export function releaseTest(
  name: string,
  { releases = Object.keys(RELEASES) as Release[], features = [] }: {
    readonly releases?: readonly Release[];
    readonly features?: readonly Feature[];
  },
  fn: (world: PluginWorld) => Promise<void>,
): void {
  for (const release of releases) {
    const { ignore } = need("root", "ip", RELEASES[release].needs);
    const kernel = needKernel(`${name} (plugins ${release})`, ...features);
    Deno.test({
      name: kernel.name,
      ignore: ignore || kernel.ignore,
      fn: async () => {
        await using world = await PluginWorld.make(release, "a", "b");
        await fn(world);
      },
    });
  }
}
