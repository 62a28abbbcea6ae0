import type { Command } from "./command.ts";
import { NAME_HELP, NAMESPACE } from "./namespace_option.ts";

/** `podwire port` */
export const PORT: Command = {
  name: "port",
  summary: "Show the ports of the host that lead to a sandbox",
  operands: "NAME [PORT[/PROTO]]",
  count: [1, 2],
  options: [NAMESPACE],
  description:
    `${NAME_HELP}\nWith PORT, only what leads to that port of the sandbox: the port of the host, behind its address if it is only one.`,
  examples: ["podwire run web --publish :80 && curl http://192.0.2.1:$(podwire port web 80)/"],
  needsRoot: false,
  load: async () => (await import("./port.ts")).port,
};
