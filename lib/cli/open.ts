import type { RuntimeOptions } from "../runtime/options.ts";
import { Podwire } from "../runtime/podwire.ts";
import type { CommandInput } from "./command.ts";
import { runtimeOptions } from "./settings.ts";

/** Returns the runtime that the options and the environment describe. */
export function openPodwire(input: CommandInput, overrides: RuntimeOptions = {}): Podwire {
  return new Podwire({ ...runtimeOptions(input), ...overrides });
}
