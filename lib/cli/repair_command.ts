import type { Command } from "./command.ts";
import { NAME_HELP, NAMESPACE } from "./namespace_option.ts";

/** The command that repairs what a machine has lost. */
export const REPAIR: Command = {
  name: "repair",
  summary: "Put back lost rules of sandboxes, and rebuild their damaged records",
  operands: "[NAME...]",
  count: [0, Infinity],
  options: [
    NAMESPACE,
    { name: "dry-run", kind: "flag", help: "only print what would be done" },
    {
      name: "links",
      kind: "flag",
      help: "also make attachments anew that lack links, addresses or routes; their connections end",
    },
  ],
  description: `${NAME_HELP} Without NAME, repairs everything on record.\n` +
    "What a flush or a reload of the firewall has taken of the rules of built-in plugins (masquerading, published ports,\n" +
    "firewall, isolation) is put back in one transaction, and packets are forwarded again. Nothing in the namespace of a\n" +
    "sandbox is touched: connections go on. --links detaches what still fails its CHECK and attaches it with the same\n" +
    "addresses, also what plugins on disk made.\n" +
    "A record with one wrong bit is restored completely. Any other is rebuilt from the records of the attachments, the\n" +
    "namespace and the index of names, and the command prints what is lost. The damaged record is moved aside. Records\n" +
    "that a newer version of podwire wrote stay as they are. Exits 1 if something could not be repaired.",
  examples: ["podwire repair --dry-run", "podwire repair web"],
  needsRoot: true,
  load: async () => (await import("./repair.ts")).repair,
};
