import { assertEquals } from "@std/assert";
import { parseJson } from "../../lib/cni/json.ts";
import { printResult, printSorted } from "../../lib/cni/libcni_text.ts";

Deno.test("A85 keys are in the order of their bytes at every level", () => {
  const json = parseJson(
    '{"b": {"z": 1, "10": 2, "2": []}, "\u{1f600}": {}, "\uffee": [{"y": 1, "x": null}], "a": true, "ab": 1}',
  );
  assertEquals(
    printSorted(json),
    '{"a":true,"ab":1,"b":{"10":2,"2":[],"z":1},"\uffee":[{"x":null,"y":1}],"\u{1f600}":{}}',
  );
});

Deno.test("A86 A87 the special characters of HTML are escaped, in keys too, and numbers keep their text", () => {
  const json = parseJson('{"<a>&": "\\u2028 \\u2029 <", "n": 9007199254740993, "f": 1.0, "e": 1e400}');
  assertEquals(
    printSorted(json),
    '{"\\u003ca\\u003e\\u0026":"\\u2028 \\u2029 \\u003c","e":1e400,"f":1.0,"n":9007199254740993}',
  );
});

Deno.test("C24 a result of 1.0.0 and newer is printed with sorted keys, an older one in the order it has", () => {
  const links = [{ name: "eth0", mac: "aa:bb:cc:dd:ee:ff", sandbox: "/run/netns/<x>" }];
  assertEquals(
    printResult({ cniVersion: "1.1.0", interfaces: links, ips: [] }),
    `{
    "cniVersion": "1.1.0",
    "interfaces": [
        {
            "mac": "aa:bb:cc:dd:ee:ff",
            "name": "eth0",
            "sandbox": "/run/netns/\\u003cx\\u003e"
        }
    ],
    "ips": []
}`,
  );
  assertEquals(
    printResult({ cniVersion: "0.4.0", interfaces: links, dns: {} }),
    `{
    "cniVersion": "0.4.0",
    "interfaces": [
        {
            "name": "eth0",
            "mac": "aa:bb:cc:dd:ee:ff",
            "sandbox": "/run/netns/\\u003cx\\u003e"
        }
    ],
    "dns": {}
}`,
  );
});
