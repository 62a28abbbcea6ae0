import { printJson } from "../cni/json.ts";
import { listSchema } from "../lint/schema.ts";
import type { CommandInput } from "./command.ts";

/** `podwire schema` */
export function schema({ io }: CommandInput): Promise<number> {
  io.write(`${printJson(listSchema(), 2)}\n`);
  return Promise.resolve(0);
}
