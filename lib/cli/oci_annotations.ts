import type { OciState } from "../sandbox/oci_state.ts";
import type { SandboxContainer } from "../sandbox/container_record.ts";
import type { SandboxRequest } from "../sandbox/request.ts";
import { CniError } from "../cni/error.ts";
import { address, addressWithPrefix, bandwidth, pair, portMapping } from "./flag_value.ts";
import { defined, someOf, wantedNetworkItems } from "./network_flag.ts";

/** What the names of all annotations begin with that are meant for podwire. */
const PREFIX = "podwire.";
/** Without it a container is left alone. */
export const NETWORKS = `${PREFIX}networks`;
/** Marks the sandboxes that the hook has made; its value is the bundle. */
export const HOOK_LABEL = "podwire.oci-bundle";

type Reader = (name: string, text: string) => Partial<SandboxRequest>;

/** Each annotation with what it asks for, in the order of the help. */
const READERS: Readonly<Record<string, Reader>> = {
  [NETWORKS]: (name, text) => defined({ networks: networksOf(name, text) }),
  "podwire.ports": (name, text) => ({ publish: listOf(text).map((item) => portMapping(name, item)) }),
  "podwire.ip": (name, text) => ({ ips: listOf(text).map((item) => addressWithPrefix(name, item)) }),
  "podwire.mac": (_, mac) => ({ mac: mac.trim() }),
  "podwire.bandwidth": (name, text) => ({ bandwidth: bandwidth(name, text.trim()) }),
  "podwire.args": (name, text) => ({ args: listOf(text).map((item) => pair(name, item)) }),
  "podwire.dns": (name, text) => ({
    dns: someOf({ servers: listOf(text).map((item) => address(name, item)) }) ?? {},
  }),
  "podwire.name": (_, name) => ({ name: name.trim() }),
  "podwire.namespace": (_, namespace) => ({ namespace: namespace.trim() }),
  "podwire.uid": (_, uid) => ({ uid: uid.trim(), uniqueName: true }),
};

/**
 * The sandbox that a container's annotations ask for; nothing where they ask for none.
 *
 * @throws {CniError} kind `usage`, naming the annotation
 */
export function sandboxOfContainer(
  { id, pid, bundle, annotations }: OciState,
  calledBy?: Omit<SandboxContainer, "bundle">,
): SandboxRequest | undefined {
  const names = Object.keys(annotations).filter((name) => name.startsWith(PREFIX)).sort();
  if (names.length === 0) return undefined;
  const unknown = names.filter((name) => !Object.hasOwn(READERS, name));
  if (unknown.length > 0) {
    const known = Object.keys(READERS).join(", ");
    throw new CniError("usage", `unknown annotation ${unknown.join(", ")}`, {
      hint: `there are ${known}`,
    });
  }
  if (!names.includes(NETWORKS)) {
    throw new CniError(
      "usage",
      `the annotation ${names.join(", ")} asks something of networks there are none of`,
      {
        hint: `name them in ${NETWORKS}; empty for the default network`,
      },
    );
  }
  if (pid === undefined) throw new CniError("usage", 'the container state has no "pid"');
  const settings = Object.assign({}, ...names.map((name) => READERS[name]?.(name, annotations[name] ?? "")));
  const container = calledBy && { container: { ...calledBy, bundle } };
  return {
    id,
    name: id,
    ...settings,
    labels: { [HOOK_LABEL]: bundle },
    source: { kind: "pid", pid, ...container },
  };
}

function networksOf(name: string, text: string): SandboxRequest["networks"] {
  const trimmed = text.trim();
  return trimmed === "" || trimmed === "default" ? undefined : wantedNetworkItems(name, trimmed);
}

/** The items of a list, one a line; or on one line, between commas. */
function listOf(text: string): readonly string[] {
  const items = text.trim().split(text.trim().includes("\n") ? "\n" : ",");
  return items.map((item) => item.trim()).filter((item) => item !== "");
}
