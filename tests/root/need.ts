/**
 * What a test needs of the machine, and where that is. `./denow task test` fetches what can be fetched.
 *
 * ```ts ignore
 * Deno.test({ name: "A53 ...", ...need("root", "cni-1.9.1"), fn: async () => { ... } });
 * ```
 *
 * If something is missing the test is skipped, visibly and counted. In CI a missing component fails the run.
 */
import "../open_libc.ts";
import { fromFileUrl } from "@std/path";
import { ownUser } from "../../lib/host/stat.ts";

const inRepository = (path: string) => fromFileUrl(new URL(`../../${path}`, import.meta.url));

/**
 * Where the fetched components are, each in a folder of its own; if that belongs to another user, a copy that
 * belongs to root.
 */
export const COMPONENTS_DIR = Deno.env.get("PODWIRE_TEST_COMPONENTS") ?? inRepository(".components");
/** The reference plugins, oldest and newest release that Debian has. */
export const CNI_1_1_1 = `${COMPONENTS_DIR}/cni-1.1.1/usr/lib/cni`;
export const CNI_1_9_1 = `${COMPONENTS_DIR}/cni-1.9.1/usr/lib/cni`;
export const RUNC = `${COMPONENTS_DIR}/runc/usr/sbin/runc`;
export const CATATONIT = `${COMPONENTS_DIR}/catatonit/usr/bin/catatonit`;
export const BUSYBOX = `${COMPONENTS_DIR}/busybox/bin/busybox`;
export const PODMAN = `${COMPONENTS_DIR}/podman/usr/bin/podman`;
export const CONMON = `${COMPONENTS_DIR}/conmon/usr/bin/conmon`;
/** A later release of iptables, with the libraries that it needs; `with_iptables.sh` puts it in the place of the machine's. */
export const IPTABLES_1_8_11 = `${COMPONENTS_DIR}/iptables-1.8.11`;
export const CRI_PROTO =
  `${COMPONENTS_DIR}/cri-api/usr/share/gocode/src/k8s.io/cri-api/pkg/apis/runtime/v1/api.proto`;
const GO_SOURCE = "usr/share/gocode/src/github.com/containerd";
export const NRI_PROTO = `${COMPONENTS_DIR}/nri/${GO_SOURCE}/nri/pkg/api/api.proto`;
export const TTRPC_PROTO = `${COMPONENTS_DIR}/ttrpc/${GO_SOURCE}/ttrpc/request.proto`;
/** The folder of containerd's programs. */
export const CONTAINERD = `${COMPONENTS_DIR}/containerd/usr/bin`;
/** A folder whose `node_modules` has @grpc/grpc-js. */
export const GRPC_JS = `${COMPONENTS_DIR}/grpc-js`;
/** A folder whose `node_modules` has ajv, a validator of JSON Schema. */
export const AJV = `${COMPONENTS_DIR}/ajv`;
export const PODWIRE_BINARY = inRepository("dist/podwire");

const SYSTEM_FOLDERS = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

const isThere = (path: string): boolean => {
  try {
    return Deno.statSync(path).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
};
/** Where `machine.sh` takes the files that it lays over /usr. */
const TOOLS = inRepository(".components/tools");
const isTool = (path: string) => isThere(path) || isThere(`${TOOLS}${path}`);
const isProgram = (name: string) => SYSTEM_FOLDERS.some((folder) => isTool(`${folder}/${name}`));

const COMPONENTS = {
  root: () => Deno.build.os === "linux" && ownUser() === 0,
  "cni-1.1.1": () => isThere(`${CNI_1_1_1}/bridge`),
  "cni-1.9.1": () => isThere(`${CNI_1_9_1}/bridge`),
  runc: () => isThere(RUNC),
  catatonit: () => isThere(CATATONIT),
  busybox: () => isThere(BUSYBOX),
  nft: () => isProgram("nft"),
  iptables: () => isProgram("iptables"),
  "iptables-1.8.11": () => isThere(`${IPTABLES_1_8_11}/usr/sbin/xtables-nft-multi`),
  ip: () => isProgram("ip"),
  perl: () => isProgram("perl"),
  curl: () => isProgram("curl"),
  "systemd-notify": () => isProgram("systemd-notify"),
  systemd: () => isTool("/usr/lib/systemd/systemd"),
  podman: () => isThere(PODMAN) && isThere(CONMON),
  "cri-api": () => isThere(CRI_PROTO),
  nri: () => isThere(NRI_PROTO) && isThere(TTRPC_PROTO),
  containerd: () => isThere(`${CONTAINERD}/containerd`),
  "grpc-js": () => isThere(`${GRPC_JS}/node_modules/@grpc/grpc-js/package.json`),
  ajv: () => isThere(`${AJV}/node_modules/ajv/package.json`),
  node: () => isProgram("node"),
  binary: () => isThere(PODWIRE_BINARY),
};

export type Component = keyof typeof COMPONENTS;

/** Every component, for the runner's report. */
export const ALL_COMPONENTS = Object.keys(COMPONENTS) as Component[];

/** Those of `components` that this machine lacks now. */
export function missing(components: readonly Component[]): Component[] {
  return components.filter((component) => !COMPONENTS[component]());
}

const said = new Set<Component>();

/** Spread it into a test's definition: the test is ignored if one of `components` is missing. */
export function need(...components: Component[]): { ignore: boolean } {
  const lacking = missing(components);
  if (lacking.length > 0 && Deno.env.get("CI") === "true") {
    throw new Error(`Cannot run the tests in CI: ${lacking.join(", ")} missing on this machine`);
  }
  for (const component of lacking) {
    if (!said.has(component)) console.error(`skipping the tests that need ${component}: it is missing here`);
    said.add(component);
  }
  return { ignore: lacking.length > 0 };
}
