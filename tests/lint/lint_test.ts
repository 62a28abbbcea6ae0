import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { RULES } from "../../lib/lint/rules.ts";
import { BROKEN } from "./broken.ts";
import { allPlugins, bridge, findings, inDir, list, PORTMAP } from "./world.ts";

for (const [what, { files, found }] of Object.entries(BROKEN)) {
  Deno.test(`lint finds ${what}`, async () => {
    const all = await inDir(files, (dir) => findings(dir));
    const short = all.map(({ rule, file, line, column }) => `${rule} ${file}:${line}:${column}`);
    assertEquals(short.toSorted(), [...found].toSorted(), JSON.stringify(all, null, 2));
  });
}

Deno.test("there are more than forty broken configurations, and each rule is found in one of them or in a test below", () => {
  const found = Object.values(BROKEN).flatMap(({ found }) => found.map((text) => text.split(" ")[0]));
  assert(Object.keys(BROKEN).length > 40, `${Object.keys(BROKEN).length}`);
  const elsewhere = ["unsafe-file", "plugin-unusable", "unsupported-version"];
  assertEquals(
    RULES.map(({ name }) => name).filter((name) => !found.includes(name)).toSorted(),
    elsewhere.toSorted(),
  );
});

/** What operators write. */
const HEALTHY = {
  "10-web.conflist": list("web", [
    bridge("br0", "10.1.0.0/24", { hairpinMode: true, mtu: 1450, capabilities: { ips: true, mac: true } }, {
      rangeEnd: "10.1.0.99",
    }),
    PORTMAP,
    { type: "firewall", ingressPolicy: "same-bridge" },
    { type: "tuning", sysctl: { "net.core.somaxconn": "500" } },
    { type: "bandwidth", capabilities: { bandwidth: true } },
  ]),
  "20-more.conflist": list("more", [bridge("br0", "10.1.0.0/24", {}, { rangeStart: "10.1.0.100" })], {
    cniVersion: "1.1.0",
    cniVersions: ["0.4.0", "1.0.0"],
    _comment: "beside the other one",
  }),
  "30-lan.conflist": list("lan", [{ type: "macvlan", master: "eth0", ipam: { type: "dhcp" } }]),
  "40-lan6.conflist": list("lan6", [{
    type: "ipvlan",
    master: "eth0",
    ipam: {
      type: "static",
      addresses: [{ address: "fd00::7/64", gateway: "fd00::1" }],
      routes: [{ dst: "::/0", mtu: 1400 }],
    },
  }]),
  "50-ptp.conflist": list("ptp", [{
    type: "ptp",
    dns: { nameservers: ["10.0.0.10"], search: ["example.net"] },
    ipam: {
      type: "host-local",
      subnet: "10.5.0.0/24",
      gateway: "169.254.1.1",
      routes: [{ dst: "0.0.0.0/0", gw: "169.254.1.1" }],
    },
  }]),
  "60-sriov.conflist": list("sriov", [{ type: "host-device", capabilities: { deviceID: true } }, {
    type: "vrf",
    vrfname: "red",
  }]),
  "70-late.conflist": list("late", [{
    type: "bridge",
    bridge: "br7",
    capabilities: { ipRanges: true },
    ipam: { type: "host-local" },
  }]),
  "80-folder.conflist": { cniVersion: "1.0.0", name: "folder" },
  "folder/10-lo.conf": { type: "loopback" },
};

Deno.test("lint finds nothing in a healthy directory", async () => {
  assertEquals(await inDir(HEALTHY, (dir) => findings(dir)), []);
});

Deno.test("lint looks at files that are named, each once, and refuses a path at which nothing is", async () => {
  await inDir({ "a.conflist": "", "b.conflist": "" }, async (dir) => {
    const found = await findings(dir, { paths: [`${dir}/a.conflist`, `${dir}/a.conflist`] });
    assertEquals(found.map(({ file, rule }) => ({ file, rule })), [{
      file: "a.conflist",
      rule: "invalid-json",
    }]);
    const error = await assertRejects(() => findings(dir, { paths: [`${dir}/c.conflist`] }), CniError);
    assertEquals(error.kind, "not-found");
  });
});

Deno.test("lint finds files and directories that other users can write, unless they are accepted", async () => {
  await inDir({ "a.conflist": list("a", [{ type: "loopback" }]) }, async (dir) => {
    await Deno.chmod(`${dir}/a.conflist`, 0o666);
    const [file, ...rest] = await findings(dir);
    assertEquals(rest, []);
    assertEquals({ rule: file?.rule, file: file?.file, severity: file?.severity }, {
      rule: "unsafe-file",
      file: "a.conflist",
      severity: "error",
    });
    assertEquals(file?.suggestion, "chown root:root a.conflist; chmod go-w a.conflist");
    assertEquals(await findings(dir, { allowUnsafeFiles: true }), []);
    await Deno.chmod(`${dir}/a.conflist`, 0o644);
    await Deno.chmod(dir, 0o777);
    const ofDir = await findings(dir);
    assertEquals(
      ofDir.map(({ rule }) => rule),
      ["unsafe-file", "unsafe-file"],
      "the directory, and the file below it",
    );
    assertStringIncludes(ofDir[1]?.message ?? "", dir);
  });
});

Deno.test("a list switches rules off for itself, and a caller for all files", async () => {
  const off = list("a", [{ type: "loopback" }], {
    disableCheck: true,
    podwireLintExclude: ["check-disabled"],
  });
  const on = list("b", [{ type: "loopback" }], { disableCheck: true });
  await inDir({ "a.conflist": off, "b.conflist": on }, async (dir) => {
    assertEquals((await findings(dir)).map(({ file, rule }) => `${file} ${rule}`), [
      "b.conflist check-disabled",
    ]);
    assertEquals(await findings(dir, { exclude: ["check-disabled"] }), []);
  });
});

Deno.test("lint names the version that all plugins support", async () => {
  const files = { "a.conflist": list("a", [{ type: "old" }, { type: "older" }]) };
  const versions: Readonly<Record<string, readonly string[]>> = { old: ["0.3.1", "0.4.0"], older: ["0.3.1"] };
  const found = await inDir(files, (dir) =>
    findings(dir, {
      ask: (type) =>
        Promise.resolve({
          isBuiltin: false,
          versions: { cniVersion: "1.0.0", supportedVersions: versions[type] ?? [] },
        }),
    }));
  const short = found.map(({ rule, line, message, suggestion }) => ({ rule, line, message, suggestion }));
  const suggestion = "set cniVersion to 0.3.1, or upgrade the plugin";
  assertEquals(short, [
    {
      rule: "unsupported-version",
      line: 6,
      message: "old does not support version 1.0.0: it supports 0.3.1, 0.4.0",
      suggestion,
    },
    {
      rule: "unsupported-version",
      line: 9,
      message: "older does not support version 1.0.0: it supports 0.3.1",
      suggestion,
    },
  ]);
});

Deno.test("lint finds plugins that have no version of the list in common", async () => {
  const files = {
    "a.conflist": list("a", [{ type: "x" }, { type: "y" }], { cniVersions: ["0.4.0", "1.0.0"] }),
  };
  const versions: Readonly<Record<string, readonly string[]>> = { x: ["0.4.0"], y: ["1.0.0"] };
  const found = await inDir(files, (dir) =>
    findings(dir, {
      ask: (type) =>
        Promise.resolve({
          isBuiltin: false,
          versions: { cniVersion: "1.0.0", supportedVersions: versions[type] ?? [] },
        }),
    }));
  assertEquals(found.map(({ rule, line, message }) => ({ rule, line, message })), [{
    rule: "unsupported-version",
    line: 4,
    message: "the plugins have none of the versions 0.4.0, 1.0.0 in common",
  }]);
});

Deno.test("what another program may know is only a warning", async () => {
  const files = { "a.conflist": list("a", [{ type: "macvlan", mode: "mine" }]) };
  const found = await inDir(
    files,
    (dir) =>
      findings(dir, {
        ask: async (type, config) => ({ ...await allPlugins(type, config), isBuiltin: false }),
      }),
  );
  assertEquals(found.map(({ rule, severity }) => ({ rule, severity })), [{
    rule: "invalid-plugin-config",
    severity: "warning",
  }]);
});

Deno.test("a missing plugin is suggested by its nearest name", async () => {
  const [found] = await inDir({ "a.conflist": list("a", [{ type: "brigde" }]) }, (dir) => findings(dir));
  assertEquals(found?.suggestion, 'did you mean "bridge"?');
});
