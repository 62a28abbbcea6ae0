import type { JsonObject } from "../cni/json.ts";
import { anyText, extensibleObjectOf, type Shape } from "../cni/shape.ts";

/** The container engine whose pod a sandbox attaches to more networks, as a plugin of its NRI. The engine owns the namespace. */
export interface NriSandbox {
  /** Name and version of the engine, as it gives them. */
  readonly engine: string;
  /** Members that another version wrote. */
  readonly unknownMembers?: JsonObject;
}

/** Encodes it as a member of the sandbox record. */
export function encodeNri({ unknownMembers = {}, ...known }: NriSandbox): JsonObject {
  return { ...unknownMembers, ...known };
}

/** What {@linkcode encodeNri} returns. */
export const NRI: Shape<NriSandbox> = extensibleObjectOf({ engine: anyText }, {});
