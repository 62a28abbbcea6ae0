import { assertEquals } from "@std/assert";
import { drawPicture } from "../../lib/cli/picture.ts";

const BRIDGE = { name: "pw0", addresses: ["10.209.0.1", "fd50:7704::1"] };

Deno.test("drawPicture() draws two sandboxes above their bridge", () => {
  const sandboxes = [
    { name: "demo-1-a", addresses: ["10.209.0.2/16", "fd50:7704::2/64"], hostLink: "veth1" },
    { name: "demo-1-b", addresses: ["10.209.0.3/16", "fd50:7704::3/64"], hostLink: "veth22" },
  ];
  assertEquals(
    drawPicture(sandboxes, BRIDGE),
    `┌──────────────────────┐   ┌──────────────────────┐
│ demo-1-a             │   │ demo-1-b             │
│ eth0 10.209.0.2/16   │   │ eth0 10.209.0.3/16   │
│ eth0 fd50:7704::2/64 │   │ eth0 fd50:7704::3/64 │
└──────────┬───────────┘   └──────────┬───────────┘
           │                          │
         veth1                      veth22
           │                          │
┌──────────┴──────────────────────────┴───────────┐
│ pw0  10.209.0.1  fd50:7704::1                   │
└─────────────────────────────────────────────────┘
`,
  );
});

Deno.test("drawPicture() stays rectangular for long, short and missing texts", () => {
  const short = { name: "a", addresses: [], hostLink: "v" };
  const long = {
    name: "x".repeat(63),
    addresses: ["1.2.3.4/32", "::1/128", "::2/128"],
    hostLink: "vethabcdef01",
  };
  for (const sandboxes of [[short], [long], [short, long], [long, short], [short, short, short]]) {
    for (const bridge of [BRIDGE, { name: "b", addresses: [] }]) {
      const lines = drawPicture(sandboxes, bridge).trimEnd().split("\n");
      const [top = "", label = "", bottom = ""] = lines.slice(-3);
      assertEquals({ labelLength: label.length, bottomLength: bottom.length }, {
        labelLength: top.length,
        bottomLength: top.length,
      });
      assertEquals(top.split("┴").length - 1, sandboxes.length, "every sandbox is joined to the bridge");
      for (const line of lines) assertEquals(line, line.trimEnd());
      // Every joint of the bridge is below a link.
      const links = lines.at(-4) ?? "";
      assertEquals(
        [...top.matchAll(/┴/g)].map(({ index }) => index),
        [...links.matchAll(/│/g)].map(({ index }) => index),
      );
    }
  }
});
