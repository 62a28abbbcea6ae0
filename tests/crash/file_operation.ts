/** A change of names. It reaches the disk through the journal of the file system. Paths are relative. */
export type NameOperation =
  | { readonly kind: "mkdir" | "create"; readonly path: string; readonly mode: number }
  | { readonly kind: "symlink"; readonly path: string; readonly target: string }
  | { readonly kind: "link" | "rename"; readonly path: string; readonly to: string }
  | { readonly kind: "remove"; readonly path: string }
  | { readonly kind: "chmod"; readonly path: string; readonly mode: number };

/** A change of the bytes of a file, which has that number on its {@linkcode Volume}. */
export type DataOperation =
  | { readonly kind: "write"; readonly inode: number; readonly at: number; readonly bytes: Uint8Array }
  | { readonly kind: "truncate"; readonly inode: number; readonly size: number };

/** The end of a sync of a file or a directory. */
export interface SyncOperation {
  readonly kind: "sync";
  readonly inode: number;
  /** How many operations were done when it began: it is sure of no others. */
  readonly from: number;
}

/** What a program does to files. */
export type FileOperation = NameOperation | DataOperation | SyncOperation;

/** Whether the operation changes names. */
export function isNameOperation(operation: FileOperation): operation is NameOperation {
  return operation.kind !== "sync" && !isDataOperation(operation);
}

/** Whether the operation changes the bytes of a file. */
export function isDataOperation(operation: FileOperation): operation is DataOperation {
  return operation.kind === "write" || operation.kind === "truncate";
}
