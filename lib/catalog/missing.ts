import { CniError, ERROR_CODES } from "../cni/error.ts";
import { EMBEDDED_FILE } from "./embedded_network.ts";
import { type CatalogContent, type CatalogFile, describeError } from "./entry.ts";

const LIST_HINT = "`podwire networks` lists what is there";

/** Makes the error about a name that no usable network has. */
export function noSuchNetwork(content: CatalogContent, name: string): CniError {
  const { files } = content;
  const msg = files.length === 0
    ? `no net configurations found in ${placeOf(content)}`
    : `no net configuration with name "${name}" in ${placeOf(content)}`;
  return new CniError("not-found", msg, { details: rejectedFiles(files), hint: listHint(files) });
}

/** A longer list would hide the message. */
const MOST_NAMES = 10;

/** Names the networks that exist, if they are few. */
function listHint(files: readonly CatalogFile[]): string {
  const names = [...new Set(files.flatMap(({ list }) => list?.name ?? []))];
  if (names.length === 0 || names.length > MOST_NAMES) return LIST_HINT;
  return `there ${names.length === 1 ? "is" : "are"} ${names.join(", ")}; ${LIST_HINT}`;
}

/** Makes the error about a catalog without default network. */
export function noDefaultNetwork(content: CatalogContent): CniError {
  const { choice: { network, by, pin }, files, problem } = content;
  const code = ERROR_CODES.invalidNetworkConfig;
  const place = placeOf(content);
  if (by === "gone") {
    return new CniError(
      "not-ready",
      `the file of the default network "${pin?.network}" is gone from ${place}`,
      {
        code,
        details: "containers are attached to it, so no other network takes its place",
        hint: `bring ${pin?.file} back, detach the containers, or name a default network`,
      },
    );
  }
  if (by === "unusable") return unusableFirst(files[0]);
  if (by === "emptied") {
    return new CniError("not-ready", `there is no configuration file any more in ${place}`, {
      code,
      details: "a network of a file was in use here, so the embedded one does not take its place by itself",
      hint: "bring the file back, or ask for the embedded network by its name",
    });
  }
  const msg = by === "name"
    ? `the default network "${network}" is not in ${place}`
    : `no usable network configuration in ${place}`;
  const details = problem === undefined ? rejectedFiles(files) : problem.message;
  return new CniError("not-ready", msg, { code, details, hint: LIST_HINT });
}

/** Makes the error about an unusable first file. Other files may be usable, but nothing says that one may replace the first. */
function unusableFirst(first: CatalogFile | undefined): CniError {
  const { error, file: own } = first ?? {};
  const { file = own, line, column } = error?.context ?? {};
  return new CniError(
    "not-ready",
    "the first configuration file cannot be used, so there is no default network",
    {
      code: ERROR_CODES.invalidNetworkConfig,
      details: error && describeError(error),
      file,
      line,
      column,
      hint: "repair or remove the file, or name the network with --default-network",
    },
  );
}

function rejectedFiles(files: readonly CatalogFile[]): string | undefined {
  const messages = files.flatMap(({ list, error }) =>
    list === undefined && error !== undefined ? [error.message] : []
  );
  return messages.length === 0 ? undefined : `rejected: ${messages.join("; ")}`;
}

function placeOf({ confDir }: CatalogContent): string {
  return confDir ?? EMBEDDED_FILE;
}
