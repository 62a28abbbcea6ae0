// Fetches what the tests need beyond Deno into .components/: real plugins of two generations, runc,
// catatonit, busybox, and the tools that this machine lacks. Nothing is installed, and this machine's own apt
// is not changed.
import { ensureDir } from "@std/fs";
import { Apt, archivesIn } from "./apt.ts";
import { COMPONENT_FOLDER, exists, fetchMissing, putComponent } from "./component_folder.ts";
import { programOutput } from "./program_output.ts";
import { unpackTools } from "./unpacked_tools.ts";

/** Unpacked side by side, installed nowhere: none of them runs anything on installation. */
const UNPACKED = [
  { name: "cni-1.1.1", package: "containernetworking-plugins", file: "usr/lib/cni/bridge" },
  {
    name: "cni-1.9.1",
    package: "containernetworking-plugins",
    file: "usr/lib/cni/bridge",
    suite: "forky",
    version: "1.9.1",
  },
  {
    name: "iptables-1.8.11",
    package: "iptables",
    // Those of this machine are older.
    libraries: [
      ...["libc6", "libip4tc2", "libip6tc2", "libxtables12", "libmnl0"],
      ...["libnetfilter-conntrack3", "libnfnetlink0", "libnftnl11"],
    ],
    file: "usr/sbin/xtables-nft-multi",
    suite: "trixie",
    version: "1.8.11",
  },
  { name: "runc", package: "runc", file: "usr/sbin/runc" },
  { name: "catatonit", package: "catatonit", file: "usr/bin/catatonit" },
  { name: "busybox", package: "busybox-static", file: "bin/busybox" },
  { name: "podman", package: "podman", file: "usr/bin/podman" },
  { name: "conmon", package: "conmon", file: "usr/bin/conmon" },
  // The messages and calls of the CRI, for the generator and for clients that are not ours.
  {
    name: "cri-api",
    package: "golang-k8s-cri-api-dev",
    file: "usr/share/gocode/src/k8s.io/cri-api/pkg/apis/runtime/v1/api.proto",
    suite: "forky",
    version: "0.36.4",
  },
  // A container engine with NRI, and the messages of NRI and of ttrpc, for the generator.
  { name: "containerd", package: "containerd", file: "usr/bin/containerd", suite: "forky", version: "2.1.9" },
  {
    name: "nri",
    package: "golang-github-containerd-nri-dev",
    file: "usr/share/gocode/src/github.com/containerd/nri/pkg/api/api.proto",
    suite: "forky",
    version: "0.8.0",
  },
  {
    name: "ttrpc",
    package: "golang-github-containerd-ttrpc-dev",
    file: "usr/share/gocode/src/github.com/containerd/ttrpc/request.proto",
    suite: "forky",
    version: "1.2.7",
  },
  // The libraries of these two that some machines lack; their path depends on the architecture.
  ...["libgpgme11", "libassuan0", "libdevmapper1.02.1", "libsubid4", "libglib2.0-0"].map((name) => ({
    name,
    package: name,
    file: `usr/share/doc/${name}/copyright`,
  })),
] as const;

/**
 * They are found by the PATH, so they are unpacked into one folder, with the packages that they depend on and
 * this machine lacks, and `machine.sh` lays that folder over /usr and /etc. What this machine has is not
 * fetched.
 */
const TOOLS = [
  { package: "iproute2", files: ["usr/sbin/ip", "usr/bin/ip"] },
  { package: "nftables", files: ["usr/sbin/nft"] },
  { package: "iptables", files: ["usr/sbin/iptables"] },
  { package: "zsh", files: ["usr/bin/zsh"] },
  { package: "fish", files: ["usr/bin/fish"] },
  { package: "curl", files: ["usr/bin/curl"] },
  { package: "perl-base", files: ["usr/bin/perl"] },
  // Runs clients of the CRI.
  { package: "nodejs", files: ["usr/bin/node", "usr/local/bin/node"] },
  // For systemd-notify, and for systemd as the first process of machines of the tests' own.
  { package: "systemd", files: ["usr/bin/systemd-notify"] },
] as const;

/** What Debian's packages make on installation, not when they are unpacked. */
const ALTERNATIVES = ["", "-save", "-restore"].flatMap((verb) => [`iptables${verb}`, `ip6tables${verb}`])
  .map((name) => ({ link: `usr/sbin/${name}`, target: "xtables-nft-multi" }));

/** Packages of npm, of the versions that the lock in tests/testdata pins, in a folder that Node can import from. */
const PACKAGES = [
  { name: "grpc-js", file: "node_modules/@grpc/grpc-js/package.json" },
  // A validator of JSON Schema that is not ours: the schemas that podwire prints are for programs of others.
  { name: "ajv", file: "node_modules/ajv/package.json" },
] as const;

type Unpacked = typeof UNPACKED[number];

/** What is missing: an unpacked component, the packages of npm, or the tools. */
type Missing = Unpacked | typeof PACKAGES[number] | "tools";

/**
 * Fetches what is missing; returns at once when nothing is. Two runs at the same time wait for each other.
 *
 * @returns why nothing could be fetched, one sentence for each component; empty if nothing is missing
 */
export async function prepareComponents(say: (line: string) => void): Promise<string[]> {
  if (Deno.build.os !== "linux") return ["the tests on a real kernel need Linux"];
  return await fetchMissing<Missing>(missing, (found, work) => fetchAll(found, work, say), say);
}

function missing(): { name: string; what: Missing }[] {
  const unpack = [...UNPACKED, ...PACKAGES].filter(({ name, file }) =>
    !exists(`${COMPONENT_FOLDER}/${name}/${file}`)
  );
  const absent = absentTools();
  const isFetched = absent.every(({ files }) =>
    files.some((file) => exists(`${COMPONENT_FOLDER}/tools/${file}`))
  );
  return [
    ...unpack.map((what) => ({ name: what.name, what })),
    ...(isFetched ? [] : [{ name: absent.map((entry) => entry.package).join(", "), what: "tools" as const }]),
  ];
}

function absentTools(): (typeof TOOLS[number])[] {
  return TOOLS.filter(({ files }) => !files.some((file) => exists(`/${file}`)));
}

async function fetchAll(
  missing: readonly Missing[],
  work: string,
  say: (line: string) => void,
): Promise<string[]> {
  const apt = new Apt(work);
  const problems: string[] = [];
  for (const component of missing) {
    const fetched = component === "tools"
      ? fetchTools(apt, absentTools().map((entry) => entry.package), work)
      : !("package" in component)
      ? fetchPackages(component.name, work)
      : fetchUnpacked(apt, component, work, say);
    const name = component === "tools" ? "the missing tools" : component.name;
    await fetched.catch((error: Error) => problems.push(`Cannot fetch ${name}: ${error.message}`));
  }
  return problems;
}

async function fetchUnpacked(
  apt: Apt,
  component: Unpacked,
  work: string,
  say: (line: string) => void,
): Promise<void> {
  const folder = `${work}/${component.name}`;
  await ensureDir(folder);
  const [suite, version] = "suite" in component
    ? [component.suite, component.version]
    : [undefined, undefined];
  await apt.download(component.package, { suite, version, cwd: folder, say });
  for (const library of "libraries" in component ? component.libraries : []) {
    await apt.download(library, { suite, version: undefined, cwd: folder, say });
  }
  const archives = archivesIn(folder);
  if (archives.length === 0) throw new Error("apt-get left no package behind");
  for (const archive of archives) await programOutput("dpkg-deb", ["-x", archive, `${folder}/root`]);
  if (!exists(`${folder}/root/${component.file}`)) throw new Error(`no ${component.file} in ${archives}`);
  await putComponent(`${folder}/root`, component.name);
}

async function fetchPackages(name: string, work: string): Promise<void> {
  const folder = `${work}/${name}`;
  await ensureDir(folder);
  for (const file of ["package.json", "deno.json", "deno.lock"]) {
    await Deno.copyFile(new URL(`testdata/${name}/${file}`, import.meta.url), `${folder}/${file}`);
  }
  await programOutput(Deno.execPath(), ["install", "--quiet", "--frozen"], folder);
  await putComponent(folder, name);
}

async function fetchTools(apt: Apt, packages: readonly string[], work: string): Promise<void> {
  const root = `${work}/tools`;
  await unpackTools(await apt.downloadWithDependencies(packages, `${work}/archives`), root);
  for (const { link, target } of ALTERNATIVES) {
    const isFetched = exists(`${root}/usr/sbin/${target}`) && !exists(`${root}/${link}`);
    if (isFetched) await Deno.symlink(target, `${root}/${link}`);
  }
  await putComponent(root, "tools");
}
