/** What created an attachment, and therefore decides how long it lives. */
export type Owner =
  /** A sandbox: the attachment goes with it. */
  | { readonly kind: "sandbox"; readonly id: string }
  /** A pod of a container engine that keeps its pods apart under this name. */
  | { readonly kind: "pods"; readonly engine: string }
  /** A caller that attached a namespace of its own, such as `cli`. */
  | { readonly kind: "manual"; readonly name: string };

/** Owner of what the command line attaches. */
export const CLI_OWNER = "cli";

const SANDBOX = "sandbox:";
const PODS = "pods:";

/** Reads the owner as it is in a record. */
export function parseOwner(text: string): Owner {
  if (text.startsWith(SANDBOX)) return { kind: "sandbox", id: text.slice(SANDBOX.length) };
  if (text.startsWith(PODS)) return { kind: "pods", engine: text.slice(PODS.length) };
  return { kind: "manual", name: text };
}

/** Returns the owner as it is in records: `sandbox:<id>`, `pods:<engine>` or a name. */
export function formatOwner(owner: Owner): string {
  switch (owner.kind) {
    case "sandbox":
      return `${SANDBOX}${owner.id}`;
    case "pods":
      return `${PODS}${owner.engine}`;
    case "manual":
      return owner.name;
  }
}

/** Returns the owner of the attachments of a sandbox, as it is in records. */
export function sandboxOwner(id: string): string {
  return formatOwner({ kind: "sandbox", id });
}
