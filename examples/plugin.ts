// A CNI plugin. A runtime starts it with the CNI_* variables and the configuration on standard input.
//
//   deno run --no-prompt \
//     --allow-env=CNI_COMMAND,CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_ARGS,CNI_PATH,CNI_NETNS_OVERRIDE \
//     --allow-read=/proc,/run/netns \
//     examples/plugin.ts
//
// From Deno 2.8.3 on also: --allow-run=sh
import { CURRENT_VERSION, type Plugin, processIo, runPlugin, SPEC_VERSIONS } from "@podwire/podwire/plugin";

const plugin: Plugin = {
  about: "CNI plugin hello",
  versions: SPEC_VERSIONS,
  verbs: {
    ADD: ({ ifName: name, netns: sandbox }) => ({
      cniVersion: CURRENT_VERSION,
      interfaces: [{ name, sandbox }],
    }),
    DEL: ({ containerId, log }) => log(`nothing is left of ${containerId}`),
  },
};

if (import.meta.main) Deno.exit(await runPlugin(plugin, processIo()));
