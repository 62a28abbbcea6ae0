import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { type NamedDevice, readHostDeviceConfig } from "../../lib/builtin/host_device_config.ts";
import { findHostDevice } from "../../lib/builtin/host_device_find.ts";
import { CniError } from "../../lib/cni/error.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import { FakeRun } from "../fake_run.ts";
import { inTempDir } from "../temp_dir.ts";

/** What the kernel shows of four PCI devices, one of them for a program, and of an auxiliary device. */
async function fakeSys(dir: string): Promise<string> {
  const pci = `${dir}/bus/pci/devices`;
  const folders = [
    `${dir}/drivers/vfio-pci`,
    `${dir}/drivers/mlx5_core`,
    `${pci}/0000:01:00.0/net/pf0`,
    `${pci}/0000:01:00.1/virtio3/net/vm0`,
    `${pci}/0000:01:00.2`,
    `${pci}/0000:01:00.3`,
    `${pci}/0000:01:00.4`,
    `${dir}/bus/auxiliary/devices/mlx5_core.sf.2/net/sf0`,
  ];
  for (const folder of folders) await Deno.mkdir(folder, { recursive: true });
  const drivers = { 0: "mlx5_core", 1: "mlx5_core", 2: "vfio-pci", 4: "mlx5_core" };
  for (const [at, driver] of Object.entries(drivers)) {
    await Deno.symlink(`${dir}/drivers/${driver}`, `${pci}/0000:01:00.${at}/driver`);
  }
  return dir;
}

const NONE: NamedDevice = { device: "", hwaddr: "", kernelpath: "", pciBusId: "", deviceId: "" };

/** The name of the device that is found; `ip` shows whichever it is asked for. */
async function found(sys: string, named: Partial<NamedDevice>): Promise<string | undefined> {
  const run = new FakeRun((request) => {
    const [, name] = /addr show dev (\S+)/.exec(request.stdin?.toString() ?? "") ?? [];
    return { stdout: `[{"ifname":"${name}","ifindex":7}]\n` };
  }).run;
  const host = { run, signal: new AbortController().signal };
  return (await findHostDevice(host, { ...NONE, ...named }, sys))?.name;
}

Deno.test("a device is found on its bus, and one that a program uses is not an interface", () =>
  inTempDir(async (dir) => {
    const sys = await fakeSys(dir);
    const cases: readonly (readonly [Partial<NamedDevice>, string | undefined])[] = [
      [{ device: "eth7" }, "eth7"],
      [{ pciBusId: "0000:01:00.0" }, "pf0"],
      [{ pciBusId: "0000:01:00.1" }, "vm0"],
      [{ pciBusId: "0000:01:00.2" }, undefined],
      [{ deviceId: "0000:01:00.0" }, "pf0"],
      [{ deviceId: "0000:01:00.1", pciBusId: "0000:01:00.0" }, "vm0"],
      [{ deviceId: "0000:01:00.2" }, undefined],
      [{ deviceId: "mlx5_core.sf.2", pciBusId: "0000:01:00.2" }, "sf0"],
      [{ device: "eth7", deviceId: "0000:01:00.0" }, "eth7"],
      [{ device: "eth7", deviceId: "0000:01:00.2" }, undefined],
      [{ kernelpath: `${sys}/bus/pci/devices/0000:01:00.0` }, "pf0"],
    ];
    for (const [named, name] of cases) assertEquals(await found(sys, named), name, JSON.stringify(named));
    const refused: readonly (readonly [Partial<NamedDevice>, RegExp])[] = [
      [{ pciBusId: "0000:01:00.3" }, /PCI device "0000:01:00\.3" does not exist, or has no driver/],
      [{ pciBusId: "0000:01:00.4" }, /"0000:01:00\.4" has no network interface/],
      [{ deviceId: "0000:99:00.0" }, /runtimeConfig\.deviceID: "0000:99:00\.0"/],
      [{ kernelpath: `${sys}/none` }, /has no network interface/],
    ];
    for (const [named, says] of refused) {
      const error = await assertRejects(() => found(sys, named), CniError);
      assertEquals(error.code, 7);
      assertMatch(error.msg, says);
    }
  }));

Deno.test("host-device refuses a configuration that names no device, or what cannot be one, by its member", () => {
  const refused: readonly (readonly [JsonObject, RegExp])[] = [
    [{}, /names no device/],
    [{ device: "" }, /names no device/],
    [{ device: 7 }, /device/],
    [{ hwaddr: "02:00" }, /hwaddr/],
    [{ kernelpath: "/dev/null" }, /kernelpath/],
    [{ kernelpath: "/sys/devices/../../etc" }, /kernelpath/],
    [{ pciBusID: "../../etc" }, /pciBusID/],
    [{ runtimeConfig: { deviceID: ".." } }, /runtimeConfig\.deviceID/],
    [{ device: "eth1", useInterfaceNetwork: true, ipam: { type: "dhcp" } }, /useInterfaceNetwork/],
  ];
  for (const [config, says] of refused) {
    try {
      readHostDeviceConfig(config);
    } catch (error) {
      if (!(error instanceof CniError)) throw error;
      assertEquals(error.code, 7);
      assertMatch(error.msg, says);
      continue;
    }
    throw new Error(`it takes ${JSON.stringify(config)}`);
  }
  const { device, hwaddr, ipamType } = readHostDeviceConfig({
    device: "eth1",
    hwaddr: "02-00-00-00-00-AA",
    ipam: null,
  });
  assertEquals({ device, hwaddr, ipamType }, { device: "eth1", hwaddr: "02:00:00:00:00:aa", ipamType: "" });
});
