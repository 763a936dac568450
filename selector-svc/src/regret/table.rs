//! Written by the test `the_table_is_what_the_replays_give`; see the parent module.

use super::Row;

/// All policies with all pools.
pub const ROWS: &[Row] = &[
    Row {
        policy: "geometric",
        contenders: 2,
        refused: 0,
        regrets: &[
            0.01662, 0.00846, 0.00522, 0.00378, 0.00378, 0.00076, 0.0, 0.0, 0.0, 0.0, 0.0,
        ],
    },
    Row {
        policy: "geometric",
        contenders: 4,
        refused: 0,
        regrets: &[
            0.02745, 0.02408, 0.01819, 0.00955, 0.00843, 0.0045, 0.0045, 0.0, 0.0, 0.0, 0.0,
        ],
    },
    Row {
        policy: "geometric",
        contenders: 8,
        refused: 0,
        regrets: &[
            0.03696, 0.02583, 0.02491, 0.00592, 0.00457, 0.00457, 0.00309, 0.00137, 0.0, 0.0, 0.0,
        ],
    },
    Row {
        policy: "geometric",
        contenders: 16,
        refused: 0,
        regrets: &[
            0.02289, 0.01458, 0.01458, 0.00782, 0.00782, 0.00608, 0.00487, 0.00164, 0.0, 0.0, 0.0,
        ],
    },
    Row {
        policy: "geometric",
        contenders: 24,
        refused: 0,
        regrets: &[
            0.02881, 0.02239, 0.02239, 0.00922, 0.00922, 0.00922, 0.00922, 0.0003, 0.00014, 0.0, 0.0,
        ],
    },
    Row {
        policy: "halving",
        contenders: 2,
        refused: 0,
        regrets: &[
            0.01943, 0.01122, 0.00441, 0.0031, 0.0031, 0.00062, 0.0, 0.0, 0.0, 0.0, 0.0,
        ],
    },
    Row {
        policy: "halving",
        contenders: 4,
        refused: 0,
        regrets: &[
            0.02773, 0.02629, 0.02409, 0.01583, 0.00812, 0.00812, 0.00765, 0.0, 0.0, 0.0, 0.0,
        ],
    },
    Row {
        policy: "halving",
        contenders: 8,
        refused: 0,
        regrets: &[
            0.03291, 0.03136, 0.02499, 0.00827, 0.00485, 0.0048, 0.003, 0.00137, 0.0, 0.0, 0.0,
        ],
    },
    Row {
        policy: "halving",
        contenders: 16,
        refused: 0,
        regrets: &[
            0.02227, 0.02227, 0.02005, 0.00896, 0.00845, 0.00823, 0.00646, 0.00506, 0.00012, 0.0, 0.0,
        ],
    },
    Row {
        policy: "halving",
        contenders: 24,
        refused: 0,
        regrets: &[
            0.03632, 0.02881, 0.02145, 0.01462, 0.01444, 0.01229, 0.01034, 0.01034, 0.00014, 2e-5, 0.0,
        ],
    },
    Row {
        policy: "halving_current",
        contenders: 2,
        refused: 0,
        regrets: &[
            0.05372, 0.02598, 0.01674, 0.00982, 0.00618, 0.00234, 0.0, 0.0, 0.0, 0.0, 0.0,
        ],
    },
    Row {
        policy: "halving_current",
        contenders: 4,
        refused: 0,
        regrets: &[
            0.10584, 0.05919, 0.04883, 0.034, 0.02361, 0.01855, 0.00999, 0.0, 0.0, 0.0, 0.0,
        ],
    },
    Row {
        policy: "halving_current",
        contenders: 8,
        refused: 0,
        regrets: &[
            0.07352, 0.05355, 0.04726, 0.0403, 0.01933, 0.01726, 0.00564, 0.00171, 0.0, 0.0, 0.0,
        ],
    },
    Row {
        policy: "halving_current",
        contenders: 16,
        refused: 0,
        regrets: &[
            0.04737, 0.03775, 0.03729, 0.03078, 0.03078, 0.01308, 0.01143, 0.01094, 0.00051, 0.0, 0.0,
        ],
    },
    Row {
        policy: "halving_current",
        contenders: 24,
        refused: 0,
        regrets: &[
            0.0728, 0.06133, 0.04122, 0.02975, 0.02975, 0.02145, 0.01869, 0.0182, 0.00023, 0.00014, 0.0,
        ],
    },
    Row {
        policy: "ats_online",
        contenders: 2,
        refused: 0,
        regrets: &[
            0.02056, 0.01562, 0.00654, 0.00469, 0.00469, 0.00469, 0.0013, 0.0013, 0.0013, 0.0013, 0.0013,
        ],
    },
    Row {
        policy: "ats_online",
        contenders: 4,
        refused: 0,
        regrets: &[
            0.0318, 0.02763, 0.02445, 0.02306, 0.0099, 0.0099, 0.0099, 0.00688, 0.00688, 0.00688, 0.00688,
        ],
    },
    Row {
        policy: "ats_online",
        contenders: 8,
        refused: 0,
        regrets: &[
            0.03233, 0.02619, 0.02619, 0.02619, 0.00902, 0.00902, 0.00447, 0.00413, 0.00258, 0.00258, 0.00258,
        ],
    },
    Row {
        policy: "ats_online",
        contenders: 16,
        refused: 0,
        regrets: &[
            0.0293, 0.02238, 0.02238, 0.01694, 0.01309, 0.01309, 0.01309, 0.01049, 0.00844, 0.00533, 0.00533,
        ],
    },
    Row {
        policy: "ats_online",
        contenders: 24,
        refused: 0,
        regrets: &[
            0.07461, 0.03365, 0.02513, 0.02513, 0.02284, 0.02284, 0.01958, 0.01779, 0.01779, 0.01324, 0.00974,
        ],
    },
    Row {
        policy: "exhaustive",
        contenders: 2,
        refused: 5,
        regrets: &[0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    },
    Row {
        policy: "exhaustive",
        contenders: 4,
        refused: 6,
        regrets: &[0.0, 0.0, 0.0, 0.0, 0.0],
    },
    Row {
        policy: "exhaustive",
        contenders: 8,
        refused: 7,
        regrets: &[0.0, 0.0, 0.0, 0.0],
    },
    Row {
        policy: "exhaustive",
        contenders: 16,
        refused: 8,
        regrets: &[0.0, 0.0, 0.0],
    },
    Row {
        policy: "exhaustive",
        contenders: 24,
        refused: 9,
        regrets: &[0.0, 0.0],
    },
    Row {
        policy: "random",
        contenders: 2,
        refused: 0,
        regrets: &[
            0.15032, 0.15032, 0.15032, 0.15032, 0.15032, 0.15032, 0.15032, 0.15032, 0.15032, 0.15032, 0.15032,
        ],
    },
    Row {
        policy: "random",
        contenders: 4,
        refused: 0,
        regrets: &[
            0.22499, 0.22499, 0.22499, 0.22499, 0.22499, 0.22499, 0.22499, 0.22499, 0.22499, 0.22499, 0.22499,
        ],
    },
    Row {
        policy: "random",
        contenders: 8,
        refused: 0,
        regrets: &[
            0.32008, 0.32008, 0.32008, 0.32008, 0.32008, 0.32008, 0.32008, 0.32008, 0.32008, 0.32008, 0.32008,
        ],
    },
    Row {
        policy: "random",
        contenders: 16,
        refused: 0,
        regrets: &[
            0.40091, 0.40091, 0.40091, 0.40091, 0.40091, 0.40091, 0.40091, 0.40091, 0.40091, 0.40091, 0.40091,
        ],
    },
    Row {
        policy: "random",
        contenders: 24,
        refused: 0,
        regrets: &[
            0.40932, 0.40932, 0.40932, 0.40932, 0.40932, 0.40932, 0.40932, 0.40932, 0.40932, 0.40932, 0.40932,
        ],
    },
    Row {
        policy: "zero_shot_control",
        contenders: 2,
        refused: 0,
        regrets: &[
            0.12856, 0.12856, 0.12856, 0.12856, 0.12856, 0.12856, 0.12856, 0.12856, 0.12856, 0.12856, 0.12856,
        ],
    },
    Row {
        policy: "zero_shot_control",
        contenders: 4,
        refused: 0,
        regrets: &[
            0.36344, 0.36344, 0.36344, 0.36344, 0.36344, 0.36344, 0.36344, 0.36344, 0.36344, 0.36344, 0.36344,
        ],
    },
    Row {
        policy: "zero_shot_control",
        contenders: 8,
        refused: 0,
        regrets: &[
            0.53725, 0.53725, 0.53725, 0.53725, 0.53725, 0.53725, 0.53725, 0.53725, 0.53725, 0.53725, 0.53725,
        ],
    },
    Row {
        policy: "zero_shot_control",
        contenders: 16,
        refused: 0,
        regrets: &[
            0.55488, 0.55488, 0.55488, 0.55488, 0.55488, 0.55488, 0.55488, 0.55488, 0.55488, 0.55488, 0.55488,
        ],
    },
    Row {
        policy: "zero_shot_control",
        contenders: 24,
        refused: 0,
        regrets: &[
            0.30035, 0.30035, 0.30035, 0.30035, 0.30035, 0.30035, 0.30035, 0.30035, 0.30035, 0.30035, 0.30035,
        ],
    },
    Row {
        policy: "ats",
        contenders: 2,
        refused: 0,
        regrets: &[
            0.02056, 0.01562, 0.00654, 0.00469, 0.00469, 0.00469, 0.0013, 0.0013, 0.0013, 0.0013, 0.0013,
        ],
    },
    Row {
        policy: "ats",
        contenders: 4,
        refused: 0,
        regrets: &[
            0.0318, 0.02763, 0.02445, 0.02306, 0.0099, 0.0099, 0.0099, 0.00688, 0.00688, 0.00688, 0.00688,
        ],
    },
    Row {
        policy: "ats",
        contenders: 8,
        refused: 0,
        regrets: &[
            0.03233, 0.02619, 0.02619, 0.02619, 0.00902, 0.00902, 0.00447, 0.00413, 0.00258, 0.00258, 0.00258,
        ],
    },
    Row {
        policy: "ats",
        contenders: 16,
        refused: 0,
        regrets: &[
            0.0293, 0.02238, 0.02238, 0.01694, 0.01309, 0.01309, 0.01309, 0.01049, 0.00844, 0.00533, 0.00533,
        ],
    },
    Row {
        policy: "ats",
        contenders: 24,
        refused: 0,
        regrets: &[
            0.07461, 0.03365, 0.02513, 0.02513, 0.02284, 0.02284, 0.01958, 0.01779, 0.01779, 0.01324, 0.00974,
        ],
    },
    Row {
        policy: "ats_corrected",
        contenders: 2,
        refused: 0,
        regrets: &[
            0.02265, 0.01544, 0.00654, 0.00469, 0.00469, 0.00469, 0.00441, 0.00441, 0.00441, 0.00441, 0.00441,
        ],
    },
    Row {
        policy: "ats_corrected",
        contenders: 4,
        refused: 0,
        regrets: &[
            0.0318, 0.02972, 0.02445, 0.02306, 0.00982, 0.00982, 0.00982, 0.00688, 0.00688, 0.00688, 0.00688,
        ],
    },
    Row {
        policy: "ats_corrected",
        contenders: 8,
        refused: 0,
        regrets: &[
            0.03233, 0.02702, 0.02702, 0.0266, 0.00902, 0.00902, 0.00447, 0.00413, 0.00258, 0.00258, 0.00258,
        ],
    },
    Row {
        policy: "ats_corrected",
        contenders: 16,
        refused: 0,
        regrets: &[
            0.03161, 0.02238, 0.02238, 0.01694, 0.01309, 0.01309, 0.01309, 0.01049, 0.00844, 0.00533, 0.00533,
        ],
    },
    Row {
        policy: "ats_corrected",
        contenders: 24,
        refused: 0,
        regrets: &[
            0.0737, 0.03444, 0.02513, 0.02513, 0.02284, 0.02284, 0.01958, 0.01779, 0.01779, 0.01324, 0.00974,
        ],
    },
    Row {
        policy: "rwl",
        contenders: 2,
        refused: 0,
        regrets: &[
            0.01453, 0.00944, 0.00582, 0.00434, 0.00434, 0.00123, 2e-5, 2e-5, 2e-5, 2e-5, 2e-5,
        ],
    },
    Row {
        policy: "rwl",
        contenders: 4,
        refused: 0,
        regrets: &[
            0.03203, 0.02647, 0.02284, 0.01333, 0.0076, 0.0076, 0.00218, 0.0, 0.0, 0.0, 0.0,
        ],
    },
    Row {
        policy: "rwl",
        contenders: 8,
        refused: 0,
        regrets: &[
            0.03596, 0.03596, 0.02921, 0.02371, 0.00757, 0.00396, 0.00396, 0.0034, 0.0, 0.0, 0.0,
        ],
    },
    Row {
        policy: "rwl",
        contenders: 16,
        refused: 0,
        regrets: &[
            0.02656, 0.02092, 0.02092, 0.01507, 0.01151, 0.00739, 0.00739, 0.00717, 0.00717, 0.0, 0.0,
        ],
    },
    Row {
        policy: "rwl",
        contenders: 24,
        refused: 0,
        regrets: &[
            0.03444, 0.03292, 0.02513, 0.02513, 0.0217, 0.0217, 0.01209, 0.01209, 0.01194, 0.01194, 0.0,
        ],
    },
    Row {
        policy: "sub_tuning",
        contenders: 2,
        refused: 0,
        regrets: &[
            0.05372, 0.02598, 0.01674, 0.00982, 0.00618, 0.00234, 0.0, 0.0, 0.0, 0.0, 0.0,
        ],
    },
    Row {
        policy: "sub_tuning",
        contenders: 4,
        refused: 0,
        regrets: &[
            0.1067, 0.05919, 0.04883, 0.034, 0.02306, 0.01855, 0.00466, 0.0, 0.0, 0.0, 0.0,
        ],
    },
    Row {
        policy: "sub_tuning",
        contenders: 8,
        refused: 0,
        regrets: &[
            0.08972, 0.05731, 0.05355, 0.04726, 0.04041, 0.01756, 0.01713, 0.00548, 0.0, 0.0, 0.0,
        ],
    },
    Row {
        policy: "sub_tuning",
        contenders: 16,
        refused: 0,
        regrets: &[
            0.04737, 0.04737, 0.03775, 0.03729, 0.03078, 0.03078, 0.01143, 0.01143, 0.01094, 0.0, 0.0,
        ],
    },
    Row {
        policy: "sub_tuning",
        contenders: 24,
        refused: 0,
        regrets: &[
            0.0728, 0.0728, 0.0728, 0.06133, 0.04122, 0.02975, 0.02975, 0.01869, 0.01869, 0.01772, 0.0,
        ],
    },
    Row {
        policy: "model_size",
        contenders: 2,
        refused: 0,
        regrets: &[
            0.15662, 0.15662, 0.15662, 0.15662, 0.15662, 0.15662, 0.15662, 0.15662, 0.15662, 0.15662, 0.15662,
        ],
    },
    Row {
        policy: "model_size",
        contenders: 4,
        refused: 0,
        regrets: &[
            0.34432, 0.34432, 0.34432, 0.34432, 0.34432, 0.34432, 0.34432, 0.34432, 0.34432, 0.34432, 0.34432,
        ],
    },
    Row {
        policy: "model_size",
        contenders: 8,
        refused: 0,
        regrets: &[
            0.53436, 0.53436, 0.53436, 0.53436, 0.53436, 0.53436, 0.53436, 0.53436, 0.53436, 0.53436, 0.53436,
        ],
    },
    Row {
        policy: "model_size",
        contenders: 16,
        refused: 0,
        regrets: &[
            0.71278, 0.71278, 0.71278, 0.71278, 0.71278, 0.71278, 0.71278, 0.71278, 0.71278, 0.71278, 0.71278,
        ],
    },
    Row {
        policy: "model_size",
        contenders: 24,
        refused: 0,
        regrets: &[
            0.97474, 0.97474, 0.97474, 0.97474, 0.97474, 0.97474, 0.97474, 0.97474, 0.97474, 0.97474, 0.97474,
        ],
    },
];
