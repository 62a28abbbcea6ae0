import { CniError } from "../cni/error.ts";
import type { SandboxFilter } from "../sandbox/filter.ts";
import { SANDBOX_STATES } from "../sandbox/view.ts";
import { pair } from "./flag_value.ts";

/**
 * Reads `--filter KEY=VALUE`: a `state`, a `name`, the prefix of an `id`, or a `label` with or without `=VALUE`.
 *
 * @throws {CniError} kind `usage`
 */
export function sandboxFilter(flag: string, text: string): SandboxFilter {
  const [key, value] = pair(flag, text);
  switch (key) {
    case "id":
    case "name":
      return { [key]: value };
    case "state": {
      const state = SANDBOX_STATES.find((known) => known === value);
      if (state !== undefined) return { state };
      throw new CniError(
        "usage",
        `${flag}: "${value}" is not a state; the states are ${SANDBOX_STATES.join(", ")}`,
      );
    }
    case "label": {
      if (value === "") throw new CniError("usage", `${flag}: "${text}" does not name a label`);
      return {
        labels: value.includes("=") ? Object.fromEntries([pair(flag, value)]) : { [value]: undefined },
      };
    }
    default:
      throw new CniError(
        "usage",
        `${flag}: "${key}" is not a key of a filter; the keys are state, name, id, label`,
      );
  }
}
