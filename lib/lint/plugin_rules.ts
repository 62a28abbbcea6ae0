import { builtins } from "../builtin/mod.ts";
import { member } from "../cni/json.ts";
import { didYouMean } from "../cni/near_miss.ts";
import { SPEC_VERSIONS } from "../cni/version.ts";
import { ipamOf, type NetworkFile, type PlacedPlugin } from "./network_file.ts";
import {
  eachPlugin,
  type LintSubject,
  type PluginAnswer,
  type Problem,
  problemAt,
  problemIn,
  type Rule,
} from "./rule.ts";

/** A plugin that a list needs, also one that is called for addresses, and what it answered. */
interface Needed {
  readonly type: string;
  readonly path: readonly string[];
  readonly answer: PluginAnswer;
}

/** What is wrong with the plugins that are installed. */
export const PLUGIN_RULES: readonly Rule[] = [
  {
    name: "plugin-not-found",
    severity: "error",
    summary: "a plugin is in none of the plugin directories, and podwire has none of that type",
    explanation:
      "Each ADD would fail. Install the plugin, or name its directory with --plugin-dir or CNI_PATH. --no-plugins leaves this out.",
    check: (subject) => failures(subject, (kind) => kind === "plugin-missing"),
  },
  {
    name: "plugin-unusable",
    severity: "warning",
    summary: "a plugin cannot be started, or did not answer to VERSION in time",
    explanation:
      "It may be made for another machine, be writable by other users, crash, or hang. --timeout VERSION=DURATION sets how long it may take.",
    check: (subject) => failures(subject, (kind) => kind !== "plugin-missing"),
  },
  {
    name: "unsupported-version",
    severity: "error",
    summary: "an installed plugin supports none of the versions of the network",
    explanation:
      "A plugin refuses a version that it does not list in its answer to VERSION. Take a version that all plugins of the list support.",
    check: function* (subject) {
      for (const file of subject.files) yield* unsupported(file, subject);
    },
  },
];

function* failures(subject: LintSubject, isMeant: (kind: string) => boolean): Generator<Problem> {
  yield* eachPlugin(function* (plugin) {
    for (const { type, path, answer } of neededBy(plugin, subject)) {
      if (answer.error === undefined || !isMeant(answer.error.kind)) continue;
      const { msg, context } = answer.error;
      const message = answer.error.kind === "plugin-missing"
        ? msg
        : `${type} does not say which versions it supports: ${msg}`;
      const suggestion = answer.error.kind === "plugin-missing"
        ? didYouMean(type, Object.keys(builtins))
        : undefined;
      yield problemIn(plugin, path, message, { suggestion: suggestion ?? context.hint });
    }
  })(subject);
}

function* unsupported({ list, read, plugins }: NetworkFile, subject: LintSubject): Generator<Problem> {
  if (list === undefined || read === undefined) return;
  const needed = plugins.flatMap((plugin) => neededBy(plugin, subject).map((one) => ({ plugin, ...one })));
  const answered = needed.flatMap((one) =>
    one.answer.versions === undefined ? [] : [{ ...one, versions: one.answer.versions.supportedVersions }]
  );
  const lacking = answered.filter(({ versions }) =>
    !list.cniVersions.some((version) => versions.includes(version))
  );
  const offered = list.cniVersions.join(", ");
  for (const { plugin, path, type, versions } of lacking) {
    yield problemIn(
      plugin,
      path,
      `${type} does not support version ${offered}: it supports ${versions.join(", ")}`,
      suggestionFor(answered),
    );
  }
  const hasCommon = list.cniVersions.some((version) =>
    answered.every(({ versions }) => versions.includes(version))
  );
  if (lacking.length > 0 || hasCommon) return;
  const key = member(list.json, "cniVersions") === undefined ? "cniVersion" : "cniVersions";
  yield problemAt(
    read,
    [key],
    `the plugins have none of the versions ${offered} in common`,
    suggestionFor(answered),
  );
}

/** Names the newest version that all plugins support. */
function suggestionFor(
  answered: readonly { readonly versions: readonly string[] }[],
): { readonly suggestion: string } {
  const best = SPEC_VERSIONS.findLast((version) =>
    answered.every(({ versions }) => versions.includes(version))
  );
  return {
    suggestion: best === undefined
      ? "upgrade the plugin"
      : `set cniVersion to ${best}, or upgrade the plugin`,
  };
}

/** The plugin, and the one that it calls for addresses. */
function neededBy(plugin: PlacedPlugin, { answerOf }: LintSubject): readonly Needed[] {
  const ipam = ipamOf(plugin)?.type;
  const own = answerOf(plugin.type, plugin.json);
  const called = ipam === undefined ? undefined : answerOf(ipam, {});
  return [
    ...(own === undefined ? [] : [{ type: plugin.type, path: ["type"], answer: own }]),
    ...(called === undefined || ipam === undefined
      ? []
      : [{ type: ipam, path: ["ipam", "type"], answer: called }]),
  ];
}
