// Prints the rooms of the library as README shows them: `./denow task layers`.
import { LAYERS } from "./layers.ts";

/** A line for each layer, highest first: its name, the layers right below it, and its purpose. */
export function layersPicture(): string {
  const rows = Object.entries(LAYERS).reverse().map(([folder, { on, about }]) => ({
    name: folder === "." ? "*.ts" : `${folder}/`,
    on: on.map((layer) => layer.replace("lib/", "")).join(", "),
    about,
  }));
  const width = (column: "name" | "on") => Math.max(...rows.map((row) => row[column].length));
  return rows.map(({ name, on, about }) => {
    const arrow = on === "" ? "  " : "->";
    return `${name.padEnd(width("name"))} ${arrow} ${on.padEnd(width("on"))}  ${about}`;
  }).join("\n");
}

if (import.meta.main) console.log(layersPicture());
