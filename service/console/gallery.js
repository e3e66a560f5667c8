import { galleryChoice, startPage } from "./shell.js";

startPage().append(galleryChoice(() => {}));
