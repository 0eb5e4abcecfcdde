"""The words that contexts are made of."""

from __future__ import annotations

FILLER = (
    "The wind turned in the afternoon and the boats stayed where they were.",
    "Nobody remembers who planted the row of lime trees.",
    "A clock struck somewhere, a little late.",
    "The road to the valley was open again after the rain.",
    "Bread was sold from the side window that week.",
    "Two dogs slept on the steps and did not move for anyone.",
    "The newspaper came with its last page missing.",
    "It was warm enough to leave the doors open at night.",
    "Somebody had painted the fence green, and then thought better of it.",
    "The river was low and its stones were dry.",
    "A letter lay unopened on the table for days.",
    "The choir practised the same four bars all evening.",
    "Snow fell on the hills, but not in the town.",
    "The stairs creaked, the third one most of all.",
    "All the lamps along the quay had been lit early.",
    "They talked about the price of coal until it was dark.",
)

PEOPLE = (
    "Anna", "Bruno", "Clara", "Dario", "Elsa", "Felix", "Greta", "Hugo", "Irma", "Jonas", "Katja", "Leon", "Mira", "Nils", "Olga", "Pavel", "Ruth",
    "Sven", "Tilda", "Ugo", "Vera", "Wim", "Xenia", "Yann", "Zora", "Aldo", "Berta", "Cyril", "Doris", "Egon", "Fanny", "Gustav", "Heidi", "Ivo",
    "Judith", "Kurt", "Lotte", "Milan", "Nora", "Otto",
)  # fmt: skip
PLACES = (
    "harbour", "mill", "chapel", "market", "quarry", "library", "brewery", "lighthouse", "orchard", "station", "tannery", "castle", "ferry", "school",
    "vineyard", "bakery", "theatre", "hospital", "shipyard", "convent", "foundry", "museum", "stables", "observatory", "barracks", "laundry",
    "gardens", "courthouse", "windmill hill", "toll bridge",
)  # fmt: skip
OBJECTS = (
    "lantern", "violin", "compass", "kettle", "telescope", "umbrella", "sabre", "globe", "mirror", "trumpet", "ledger", "barometer", "carpet",
    "teapot", "chessboard", "necklace", "typewriter", "hourglass", "saddle", "drum", "atlas", "candlestick", "accordion", "sundial", "parasol",
    "microscope", "thimble", "harpoon", "tapestry", "music box",
)  # fmt: skip
FORMER = (
    "a bishop", "a smuggler", "a ship's cook", "a clockmaker", "a tax collector", "a midwife", "a beekeeper", "a duchess", "a hangman",
    "an astronomer", "a juggler", "a glazier", "a postman", "a hermit", "a baker's widow", "a cartographer", "a gravedigger", "an innkeeper",
    "a puppeteer", "a surgeon", "a dancing master", "a locksmith", "a fishmonger", "a notary", "a chimney sweep", "a potter", "a falconer",
    "an opera singer", "a cooper", "a general",
)  # fmt: skip
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")

PEOPLE_ZH = (
    "李明", "王芳", "张伟", "刘洋", "陈静", "杨帆", "赵磊", "黄蓉", "周杰", "吴昊", "徐慧", "孙悦", "胡兵", "朱琳", "高翔", "林枫", "何勇", "郭敏",
    "马超", "罗丹", "梁栋", "宋佳", "郑爽", "谢娜", "韩雪", "唐糖", "冯宇", "于波", "董卿", "萧瑟",
)  # fmt: skip
PLACES_ZH = (
    "码头", "磨坊", "寺庙", "集市", "矿山", "书院", "酒厂", "灯塔", "果园", "车站", "城堡", "渡口", "学堂", "戏台", "医馆", "船坞", "花圃", "衙门",
    "石桥", "茶楼",
)  # fmt: skip
OBJECTS_ZH = (
    "灯笼", "古琴", "罗盘", "铜壶", "雨伞", "宝剑", "镜子", "账本", "地毯", "棋盘", "项链", "砚台", "马鞍", "大鼓", "烛台", "屏风", "玉佩", "竹笛",
    "木箱", "银钗",
)  # fmt: skip
FORMER_ZH = (
    "一位将军", "一个和尚", "一位郎中", "一个商贩", "一位公主", "一个铁匠", "一位诗人", "一个裁缝", "一位画师", "一个猎户", "一位县令", "一个厨子",
    "一位镖师", "一个渔夫", "一位秀才", "一个木工", "一位歌姬", "一个牧童", "一位道士", "一个信使",
)  # fmt: skip
FILLER_ZH = (
    "那天下午起了风，小舟都没有出去。", "没有人记得那排柳树是谁种的。", "远处的钟响了，比平时晚了一点。", "雨停以后，进谷的路又通了。",
    "两只狗睡在台阶上，谁来也不动。", "夜里很暖，门都开着。", "河里的水很浅，露出了干石头。", "信在桌上放了好几天，没有拆开。",
    "山上下了雪，镇里没有。", "大家谈论炭的价钱，一直谈到天黑。",
)  # fmt: skip

COLOURS = ("red", "blue", "green", "yellow", "white", "black")
SIZES = ("small", "large", "narrow", "wide")
SHAPES = ("round", "square", "oval", "pointed", "flat")
MATERIALS = ("wooden", "iron", "glass", "paper", "leather")
LABELS = ("dax", "wug", "blick", "fep", "toma", "zorp")

TOWNS = (
    "Eskwick", "Brommark", "Halden", "Varnholt", "Tessin Bay", "Orlow", "Merrin", "Castelon", "Ulverby", "Drosk", "Pellworth", "Sanviti", "Kolmar",
    "Nantry", "Gravik", "Ystermo",
)  # fmt: skip
PROJECTS = (
    "a footbridge over the river", "a new reading room", "a tram to the coast", "a glass roof for the market", "a school for sailors",
    "a dam above the mill", "an open-air stage", "a park on the old rampart", "a second railway tunnel", "a hospital wing",
    "a lift to the upper town", "a sea wall", "a museum of salt", "a swimming hall", "a fish ladder", "a night market",
)  # fmt: skip
REASONS = (
    "the old one had been closed after a flood", "the number of visitors had doubled", "a bequest had to be spent within ten years",
    "the neighbouring town had built one", "three accidents had happened in one winter", "the council had promised it before the election",
    "the harbour had lost its trade", "the ground had begun to sink", "a petition had gathered half the town", "the insurance had asked for it",
)  # fmt: skip
SURNAMES = (
    "Varga", "Petri", "Ostermann", "Lunden", "Stenura", "Radic", "Nordzen", "Holt", "Marlen", "Ibsland", "Quist", "Teodor", "Falken", "Brandis",
    "Corvin", "Doleza", "Emmerich", "Grell", "Hartog", "Jansky", "Kessel", "Lorant", "Moravec", "Novotny",
)  # fmt: skip
PADDING = (
    "Residents gathered outside and disagreed about nearly everything.",
    "An older plan had been shelved twice and was hardly mentioned.",
    "Drawings were shown on a wall that was too small for them.",
    "Somebody asked about parking, and somebody always does.",
    "The weather was blamed for the delay, although the weather had been good.",
    "A local historian recalled a similar quarrel from his youth.",
    "Coffee was served, and the meeting ran on longer than planned.",
    "The minutes do not say who spoke against it.",
    "Photographs of the site were passed from hand to hand.",
    "A surveyor explained the slope, and few followed him.",
    "Shopkeepers hoped for more customers and feared the dust.",
    "Several letters to the paper had made much the same points.",
    "Children had drawn what they wanted, mostly slides.",
    "The architect did not come, but sent a model made of cork.",
)
GATES = (
    "north", "river", "mill", "garden", "tower", "customs", "cattle", "pilgrim", "harbour", "salt", "miners", "orchard", "chapel", "ferry", "hunters",
    "weavers", "bell", "brewers", "coopers", "lepers", "market", "palace", "quarry", "smiths",
)  # fmt: skip
