import { didYouMean } from "../cni/near_miss.ts";
import { isObject, member } from "../cni/json.ts";
import { readCapabilities } from "./key_rules.ts";
import type { PlacedPlugin } from "./network_file.ts";
import { eachPlugin, type Problem, problemIn, type Rule } from "./rule.ts";

/** The capabilities of the conventions, and which plugins are known to read them. */
const KNOWN: ReadonlyMap<string, string> = new Map([
  ["portMappings", "portmap"],
  ["ipRanges", "host-local"],
  ["bandwidth", "bandwidth"],
  ["dns", "bridge, ptp"],
  ["ips", "host-local, static"],
  ["mac", "bridge, macvlan, tuning"],
  ["infinibandGUID", "ib-sriov-cni"],
  ["deviceID", "host-device"],
  ["aliases", "dnsname"],
  ["cgroupPath", "plugins that limit a cgroup"],
  ["io.kubernetes.cri.pod-annotations", "plugins that read the annotations of a pod"],
]);
/** Those that podwire itself reads from the list: it writes the aliases of a sandbox into the hosts of the others. */
const READ_BY_RUNTIME = ["aliases"];
const RATES = ["ingressRate", "egressRate", "ingressBurst", "egressBurst"];

/** What is wrong with capabilities. */
export const CAPABILITY_RULES: readonly Rule[] = [
  {
    name: "unknown-capability",
    severity: "warning",
    summary: "a capability that no convention knows",
    explanation:
      "Runtimes pass the capabilities of the conventions by themselves. Any other needs `--cap NAME=JSON`, or was mistyped.",
    check: eachPlugin(function* (plugin) {
      for (const name of plugin.capabilities) {
        if (KNOWN.has(name)) continue;
        yield at(
          plugin,
          name,
          `the capability "${name}" is not one of the conventions`,
          didYouMean(name, KNOWN.keys()),
        );
      }
    }),
  },
  {
    name: "unread-capability",
    severity: "warning",
    summary: "a plugin declares a capability that it does not read",
    explanation:
      "The runtime passes the value to this plugin, which ignores it, so what a container asks for is not done.",
    check: eachPlugin(function* (plugin, _at, { plugins }) {
      const read = readCapabilities(plugin);
      for (const name of read === undefined ? [] : plugin.capabilities) {
        const reader = KNOWN.get(name);
        if (reader === undefined || read?.includes(name) || READ_BY_RUNTIME.includes(name)) continue;
        const isElsewhere = plugins.some((other) => other !== plugin && other.capabilities.includes(name));
        const suggestion = isElsewhere
          ? "remove it here: another plugin of the list declares it"
          : `declare it for ${reader}`;
        yield at(plugin, name, `${plugin.type} does not read the capability "${name}"`, suggestion);
      }
    }),
  },
  {
    name: "missing-capability",
    severity: "warning",
    summary: "a plugin has nothing to do without a capability that it does not declare",
    explanation:
      "portmap publishes the ports that the runtime passes, and a runtime passes them only to plugins that declare `portMappings`.",
    check: eachPlugin(function* (plugin) {
      const name = neededBy(plugin);
      if (name === undefined || plugin.capabilities.includes(name)) return;
      yield problemIn(
        plugin,
        ["type"],
        `${plugin.type} does nothing, because it does not declare the capability "${name}"`,
        {
          suggestion: `add "capabilities": {"${name}": true}`,
        },
      );
    }),
  },
  {
    name: "capability-off",
    severity: "note",
    summary: "a capability is declared as false",
    explanation: "It is the same as leaving it out.",
    check: eachPlugin(function* (plugin) {
      const declared = member(plugin.json, "capabilities") ?? null;
      if (!isObject(declared)) return;
      for (const [name, value] of Object.entries(declared)) {
        if (value === false) {
          yield at(
            plugin,
            name,
            `the capability "${name}" is declared as false`,
            "set it to true, or remove it",
          );
        }
      }
    }),
  },
];

function neededBy({ type, json }: PlacedPlugin): string | undefined {
  if (type === "portmap") return "portMappings";
  return type === "bandwidth" && RATES.every((key) => member(json, key) === undefined)
    ? "bandwidth"
    : undefined;
}

function at(plugin: PlacedPlugin, name: string, message: string, suggestion: string | undefined): Problem {
  return problemIn(plugin, ["capabilities", name], message, { suggestion });
}
