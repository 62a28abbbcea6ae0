import { create } from "@bufbuild/protobuf";
import type { CatalogEntry } from "../catalog/entry.ts";
import { printJson } from "../cni/json.ts";
import type { NetworkStatus } from "../readiness/status.ts";
import { entryToJson, statusToJson } from "../runtime/json_view.ts";
import { type StatusResponse, StatusResponseSchema } from "./generated/api_pb.ts";

/** What the networks of the node are like now. */
export interface NetworkFacts {
  readonly entries: readonly CatalogEntry[];
  readonly statuses: readonly NetworkStatus[];
  /** The networks of the node's pods, as a kubelet has given them. */
  readonly podCIDRs: readonly string[];
}

/**
 * Returns the status of the runtime. `NetworkReady` is that of the network which a pod gets, with the reason and the message of
 * `podwire status`.
 */
export function runtimeStatus(facts: NetworkFacts, isVerbose: boolean): StatusResponse {
  return create(StatusResponseSchema, {
    status: {
      conditions: [
        { type: "RuntimeReady", status: true },
        { type: "NetworkReady", ...networkCondition(facts) },
      ],
    },
    info: isVerbose ? infoOf(facts) : {},
    runtimeHandlers: [{ name: "", features: {} }],
    features: {},
  });
}

function networkCondition(
  { entries, statuses }: NetworkFacts,
): { readonly status: boolean; readonly reason: string; readonly message: string } {
  const chosen = entries.find((entry) => entry.default);
  const own = chosen && statuses.find(({ network }) => network === chosen.name);
  const shown = own ?? statuses.find(({ ready }) => !ready);
  if (own?.ready) return { status: true, reason: "", message: "" };
  const { reason = "no-config", msg = "there is no network for pods" } = shown ?? {};
  return { status: false, reason, message: msg };
}

/** Clients show the members of an object, put anything else between quotes, and have a member "status" of their own. */
function infoOf({ entries, statuses, podCIDRs }: NetworkFacts): Readonly<Record<string, string>> {
  const network = { networks: entries.map(entryToJson), status: statuses.map(statusToJson), podCIDRs };
  return { network: printJson(network) };
}
