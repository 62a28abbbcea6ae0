import type { JsonObject } from "../cni/json.ts";
import { anyObject, anyText, extensibleObjectOf, type Shape } from "../cni/shape.ts";

/** What a kubelet, or another client of the CRI, has asked for. Its sandbox belongs to that client. */
export interface CriSandbox {
  /** The runtime handler, empty for the default one. */
  readonly handler: string;
  /** `PodSandboxConfig` of the CRI in the JSON of Protocol Buffers, without what the sandbox itself has: names, labels, annotations. */
  readonly config: JsonObject;
  /** Members that another version wrote. */
  readonly unknownMembers?: JsonObject;
}

/** Encodes it as a member of the sandbox record. */
export function encodeCri({ unknownMembers = {}, ...known }: CriSandbox): JsonObject {
  return { ...unknownMembers, ...known };
}

/** What {@linkcode encodeCri} returns. */
export const CRI: Shape<CriSandbox> = extensibleObjectOf({ handler: anyText, config: anyObject }, {});
