import { isConfigName } from "../catalog/load.ts";
import { nearMiss } from "../cni/near_miss.ts";
import { isArray, isObject, member } from "../cni/json.ts";
import { atLeast } from "../cni/version.ts";
import { hasWrongForm } from "./engine_rules.ts";
import { isListFile, type NetworkFile, objectOf } from "./network_file.ts";
import { type Problem, problemAt, problemOf, type Rule } from "./rule.ts";

const EXTENSIONS = ["conflist", "conf", "json"];
/** What stays of a file that an editor or a package manager has put aside. */
const PUT_ASIDE = /(?:~|\.(?:bak|old|orig|save|swp|tmp|disabled|rpmsave|rpmnew|dpkg-\w+))$/;

/** What is wrong with files as files. */
export const FILE_RULES: readonly Rule[] = [
  {
    name: "unsafe-file",
    severity: "error",
    summary: "another user can change the file, or a directory above it",
    explanation:
      "Plugins run as root with what the file says, so the engine refuses a file that users other than root can write.",
    check: function* ({ files }) {
      for (const file of files) {
        if (file.unsafe === undefined) continue;
        const { path, why } = file.unsafe;
        const where = path === file.file ? "the file is not safe" : `${path} is not safe`;
        yield problemOf(file, `${where}: ${why}`, {
          suggestion: `chown root:root ${path}; chmod go-w ${path}`,
        });
      }
    },
  },
  {
    name: "wrong-form",
    severity: "error",
    summary: "a list in a file for a single plugin, or the reverse",
    explanation:
      "A `.conflist` file holds a list with `plugins`. A `.conf` or `.json` file holds one plugin with a `type`. The engine refuses the rest.",
    check: function* ({ files }) {
      for (const file of files) {
        if (!hasWrongForm(file)) continue;
        const stem = file.file.slice(0, file.file.lastIndexOf("."));
        const [found, name] = isListFile(file)
          ? ["the configuration of a single plugin", `${stem}.conf`]
          : ["a list of plugins", `${stem}.conflist`];
        yield problemOf(file, `the file holds ${found}, and its name is that of the other form`, {
          suggestion: `rename it to ${name}`,
        });
      }
    },
  },
  {
    name: "single-plugin-file",
    severity: "note",
    summary: "a file with the configuration of a single plugin",
    explanation:
      "Version 1.0.0 of the CNI specification has lists only. Runtimes still read such a file, but it can have no second plugin.",
    check: function* ({ files }) {
      for (const file of files) {
        if (file.list === undefined || isListFile(file)) continue;
        const isNew = atLeast(file.list.cniVersion, "1.0.0");
        yield problemOf(file, "the file holds a single plugin, which CNI 1.0.0 has no form for", {
          severity: isNew ? "warning" : "note",
          suggestion: "make it a .conflist file, with the plugin in plugins",
        });
      }
    },
  },
  {
    name: "file-not-read",
    severity: "note",
    summary: "a file in the directory that no runtime reads",
    explanation:
      "Runtimes read `.conflist`, `.conf` and `.json`. A warning if the name looks mistyped, a note for any other file.",
    check: function* ({ files }) {
      for (const file of files) yield* unread(file);
    },
  },
  {
    name: "duplicate-name",
    severity: "warning",
    summary: "two files have the same network name",
    explanation:
      "Only one of them is used: for pods the first file, for cnitool a list before a single plugin. The other one is shadowed.",
    check: function* ({ files }) {
      const first = new Map<string, NetworkFile>();
      for (const file of files) {
        const name = file.list?.name;
        if (name === undefined || file.read === undefined) continue;
        const other = first.get(name);
        if (other === undefined) first.set(name, file);
        else {yield problemAt(file.read, ["name"], `the network "${name}" is also in ${other.file}`, {
            suggestion: "give one of them another name",
          });}
      }
    },
  },
  {
    name: "reserved-name",
    severity: "warning",
    summary: "the name of the network has another meaning for podwire",
    explanation: "`--network none` means no network, and `podwire` is the name of the embedded network.",
    check: function* ({ files }) {
      for (const { list, read } of files) {
        if (read === undefined || list === undefined) continue;
        const meaning = RESERVED_NAMES.get(list.name);
        if (meaning !== undefined) {
          yield problemAt(read, ["name"], `the name "${list.name}" ${meaning}`, {
            suggestion: "give it another name",
          });
        }
      }
    },
  },
];

const RESERVED_NAMES: ReadonlyMap<string, string> = new Map([
  ["none", "means no network at all for `podwire run --network`"],
  ["podwire", "is that of the embedded network"],
]);

function* unread(file: NetworkFile): Generator<Problem> {
  if (file.isConfig) return;
  const name = file.file.slice(file.file.lastIndexOf("/") + 1);
  if (PUT_ASIDE.test(name)) {
    yield problemOf(file, "no runtime reads the file: it looks put aside", {
      suggestion: "remove it, or move it out of the directory",
    });
    return;
  }
  const dot = name.lastIndexOf(".");
  const extension = nearMiss(name.slice(dot + 1), EXTENSIONS);
  if (dot > 0 && extension !== undefined && isConfigName(`x.${extension}`)) {
    yield problemOf(file, `no runtime reads a file with the extension ".${name.slice(dot + 1)}"`, {
      severity: "warning",
      suggestion: `did you mean ${name.slice(0, dot)}.${extension}?`,
    });
    return;
  }
  const json = objectOf(file);
  const isNetwork = json !== undefined &&
    (isArray(member(json, "plugins")) ||
      (member(json, "type") !== undefined && !isObject(member(json, "type"))));
  yield problemOf(
    file,
    isNetwork ? "the file holds a network, and no runtime reads it" : "no runtime reads the file",
    {
      severity: isNetwork ? "warning" : "note",
      suggestion: isNetwork ? "name it .conflist, or .conf if it holds one plugin" : undefined,
    },
  );
}
