import { configReading } from "../builtin/config_table.ts";
import { isForExistingLink } from "../cni/existing_link.ts";
import { member } from "../cni/json.ts";
import { compareVersions } from "../cni/version.ts";
import { isListFile, objectOf } from "./network_file.ts";
import { eachPlugin, type Problem, problemAt, problemIn, type Rule } from "./rule.ts";

/** What is wrong with a list as a whole, and with the order of its plugins. */
export const CHAIN_RULES: readonly Rule[] = [
  {
    name: "chained-plugin-first",
    severity: "error",
    summary: "the first plugin of a list needs the result of one before it",
    explanation:
      "bandwidth, firewall, portmap, sbr, tuning and vrf change what another plugin has made, and refuse to be the first.",
    check: eachPlugin(function* (plugin, at, { list }) {
      if (at > 0 || list === undefined || configReading(plugin.type)?.isChained !== true) return;
      yield problemIn(
        plugin,
        ["type"],
        `${plugin.type} is the first plugin, and needs the result of another one`,
        {
          suggestion: "put the plugin that makes the interface before it",
        },
      );
    }),
  },
  {
    name: "second-interface-plugin",
    severity: "warning",
    summary: "two plugins of a list make an interface of the same name",
    explanation:
      "Each plugin of a list gets the same CNI_IFNAME, so the second one finds the name taken. Make a network of each.",
    check: eachPlugin(function* (plugin, at, { plugins, list }) {
      if (list === undefined || at === 0 || !makesLink(plugin.type)) return;
      // A vlan, an ipvlan or a macvlan may be on the interface of the plugin before it.
      if (
        ["vlan", "ipvlan", "macvlan"].includes(plugin.type) && member(plugin.json, "linkInContainer") === true
      ) return;
      if (plugin.type === "ipvlan" && member(plugin.json, "master") === undefined) return;
      const before = plugins.slice(0, at).find(({ type }) => makesLink(type));
      if (before === undefined) return;
      yield problemIn(
        plugin,
        ["type"],
        `${plugin.type} makes an interface, and ${before.type} before it has made one of this name`,
        {
          suggestion: "make a network of its own for it",
        },
      );
    }),
  },
  {
    name: "duplicate-plugin",
    severity: "warning",
    summary: "a plugin is twice in a list",
    explanation: "The second run finds what the first has made: rules are there twice, or the ADD fails.",
    check: eachPlugin(function* (plugin, at, { plugins }) {
      if (
        configReading(plugin.type)?.isChained !== true || plugin.type === "tuning" || plugin.type === "sbr"
      ) return;
      if (plugins.findIndex(({ type }) => type === plugin.type) === at) return;
      yield problemIn(plugin, ["type"], `${plugin.type} is in the list already`, {
        suggestion: "remove one of them",
      });
    }),
  },
  {
    name: "masquerade-without-gateway",
    severity: "warning",
    summary: "a bridge masquerades, and has no address to be a gateway",
    explanation:
      "Without isGateway the host has no address on the bridge, so nothing of the containers gets there to be masqueraded.",
    check: eachPlugin(function* ({ type, json, ...plugin }) {
      if (type !== "bridge" || member(json, "ipMasq") !== true) return;
      if (member(json, "isGateway") === true || member(json, "isDefaultGateway") === true) return;
      yield problemIn(
        { type, json, ...plugin },
        ["ipMasq"],
        "ipMasq is set, and the bridge is not a gateway",
        { suggestion: 'add "isGateway": true' },
      );
    }),
  },
  {
    name: "missing-version",
    severity: "warning",
    summary: "cniVersion is missing",
    explanation: "Then it is 0.1.0, which has no chains of plugins, no CHECK, no STATUS and no GC.",
    check: function* ({ files }): Generator<Problem> {
      for (const { list, read, file } of files) {
        const json = read?.document.json;
        if (list === undefined || read === undefined || json === undefined) continue;
        if (list.json.cniVersion !== undefined || list.json.cniVersions !== undefined) continue;
        yield problemAt(
          read,
          [],
          `${isListFile({ file }) ? "the list" : "the file"} has no cniVersion, so it counts as 0.1.0`,
          { suggestion: 'add "cniVersion": "1.0.0"' },
        );
      }
    },
  },
  {
    name: "old-version",
    severity: "note",
    summary: "cniVersion is older than 0.4.0",
    explanation:
      "Versions before 0.4.0 have no CHECK, and DEL does not get the result of the ADD, so plugins clean up less.",
    check: function* ({ files }): Generator<Problem> {
      for (const { list, read } of files) {
        if (list === undefined || read === undefined || compareVersions(list.cniVersion, "0.4.0") >= 0) {
          continue;
        }
        const key = ["cniVersion", "cniVersions"].find((name) => list.json[name] !== undefined);
        if (key !== undefined) {
          yield problemAt(read, [key], `version ${list.cniVersion} has no CHECK, and no result in DEL`, {
            suggestion: "use 0.4.0 or newer",
          });
        }
      }
    },
  },
  {
    name: "ignored-member",
    severity: "note",
    summary: "a plugin in a list has a name or version of its own",
    explanation: "Runtimes replace `name` and `cniVersion` of each plugin by those of the list.",
    check: eachPlugin(function* (plugin, _at, file) {
      if (!isListFile(file)) return;
      for (const key of ["name", "cniVersion"]) {
        const own = member(plugin.json, key);
        if (own === undefined || own === objectOf(file)?.[key]) continue;
        yield problemIn(plugin, [key], `${key} of a plugin in a list has no effect`, {
          suggestion: "remove it",
        });
      }
    }),
  },
  off(
    "check-disabled",
    "disableCheck",
    "CHECK is not called, so nothing notices that an interface, an address or a rule of a container is lost",
  ),
  off(
    "gc-disabled",
    "disableGC",
    "GC is not called, so plugins keep the addresses of containers that are gone without a DEL",
  ),
];

/** A rule about a flag of a list that turns a verb off. */
function off(name: string, key: "disableCheck" | "disableGC", effect: string): Rule {
  return {
    name,
    severity: "note",
    summary: `${key} is set`,
    explanation: `With ${key} ${effect}.`,
    check: function* ({ files }): Generator<Problem> {
      for (const { list, read } of files) {
        if (list?.[key] && read !== undefined) {
          yield problemAt(read, [key], `${key}: ${effect}`, {
            suggestion: "remove it if the plugins support the verb",
          });
        }
      }
    },
  };
}

function makesLink(type: string): boolean {
  const reading = configReading(type);
  if (reading === undefined || reading.isIpam === true) return false;
  return !isForExistingLink({ plugins: [{ type, json: {}, capabilities: [] }] });
}
